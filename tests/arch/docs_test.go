package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page that names the test of a promise is true only as long as the test is there.
func TestDocsNameWhatIsThere(t *testing.T) {
	t.Parallel()

	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal("there are no pages", err)
	}

	link := regexp.MustCompile(`\[([^\]]+)\]\(([^)#]+)(#[^)]*)?\)`)

	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}

		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			name, target := match[1], match[2]
			if strings.Contains(target, "://") {
				continue
			}

			path := filepath.Join(filepath.Dir(page), target)
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s leads to %s, which is not there", page, target)
				continue
			}

			if !strings.HasPrefix(name, "Test") {
				continue
			}

			if !declares(t, filepath.Dir(path), name) {
				t.Errorf("%s names %s, which is not in the folder of %s", page, name, target)
			}
		}
	}
}

// declares tells whether a test of that name is in the folder: it may move from file to file.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range files {
		if code, err := os.ReadFile(file); err == nil && strings.Contains(string(code), "\nfunc "+name+"(") {
			return true
		}
	}

	return false
}

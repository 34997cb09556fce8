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

			if code, err := os.ReadFile(path); err != nil || !strings.Contains(string(code), "\nfunc "+name+"(") {
				t.Errorf("%s names %s, which is not in %s", page, name, target)
			}
		}
	}
}

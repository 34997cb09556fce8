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

	var pages []string

	for _, pattern := range []string{"*.md", "docs/*.md", "samples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("there are no pages %s: %v", pattern, err)
		}

		pages = append(pages, found...)
	}

	link := regexp.MustCompile(`\[([^\]]+)\]\(([^)#]*)(#[^)]*)?\)`)

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
			if target == "" {
				path = page
			}

			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s leads to %s, which is not there", page, target)
				continue
			}

			if anchor := match[3]; anchor != "" && !heads(t, path, anchor[1:]) {
				t.Errorf("%s leads to %s%s, where nothing is headed so", page, target, anchor)
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

// heads tells whether a page has a heading with that anchor.
func heads(t *testing.T, page, anchor string) bool {
	t.Helper()

	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}

	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			continue
		}

		words := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(strings.TrimLeft(strings.TrimSpace(line), "# ")), "")
		if strings.ReplaceAll(words, " ", "-") == anchor {
			return true
		}
	}

	return false
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

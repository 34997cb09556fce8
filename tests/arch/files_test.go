package arch_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root of the repository, from where go test runs this package.
const root = "../.."

// maxLines is where a file has become two.
const maxLines = 500

func TestTopLevelFolders(t *testing.T) {
	t.Parallel()

	known := []string{"actors", "component", "components-yaml", "crdt", "docs", "samples", "sdk", "tests"}
	// What belongs to tools and is not ours to arrange.
	tools := []string{".cache", ".ci", ".git", "bin"}

	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}

	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(known, entry.Name()) && !slices.Contains(tools, entry.Name()) {
			t.Errorf("folder %s at the top level is none of %s", entry.Name(), strings.Join(known, ", "))
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()

	for file, text := range sources(t) {
		if n := bytes.Count(text, []byte{'\n'}); filepath.Ext(file) == ".go" && n > maxLines && !generated(text) {
			t.Errorf("%s has %d lines; a file has at most %d: split it by what it is about", file, n, maxLines)
		}
	}
}

// Work that is left belongs into the tracker, where somebody looks.
func TestNothingIsLeftToDo(t *testing.T) {
	t.Parallel()

	left := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

	for file, text := range sources(t) {
		if generated(text) {
			continue
		}

		for i, line := range bytes.Split(text, []byte{'\n'}) {
			if word := left.Find(line); word != nil {
				t.Errorf("%s:%d says %s: do it, or file it", file, i+1, word)
			}
		}
	}
}

// Names that say nothing attract code that belongs elsewhere.
func TestPackageNamesSaySomething(t *testing.T) {
	t.Parallel()

	empty := []string{"base", "common", "core", "helper", "helpers", "impl", "lib", "manager", "misc", "shared", "util", "utils"}

	for _, p := range packages(t) {
		if slices.Contains(empty, p.Name) || slices.Contains(empty, filepath.Base(p.Dir)) {
			t.Errorf("package %s: its name does not say what it is about", p.folder())
		}
	}
}

// generated tells by the mark that Go has agreed on.
func generated(text []byte) bool {
	return regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`).Match(text)
}

// sources are the files that people write, by their path from the root.
func sources(t *testing.T) map[string][]byte {
	t.Helper()

	files := make(map[string][]byte)

	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", ".cache", "bin", "testdata", "node_modules"}, name) {
				return filepath.SkipDir
			}

			return nil
		}

		if !slices.Contains([]string{".go", ".proto", ".yaml", ".yml", ".md", ".sql", ".sh", ""}, filepath.Ext(name)) {
			return nil
		}

		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}

		relative, err := filepath.Rel(root, path)
		files[relative] = text

		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	if len(files) < 10 {
		t.Fatalf("found only %d files: the test looks in the wrong place", len(files))
	}

	return files
}

package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/dapr-entities/entities"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Name, Dir              string
	Imports, TestImports, XTestImports []string
	Standard                           bool
}

// folder is the package's path inside the module.
func (p pkg) folder() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// listed asks once; every test looks at the same packages.
var listed = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Imports,TestImports,XTestImports,Standard", "./...")
	cmd.Dir = "../.."

	var stderr bytes.Buffer

	cmd.Stderr = &stderr

	text, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}

	var all []pkg

	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}

		all = append(all, p)
	}
})

// packages are all packages of the module, the nested modules left out.
func packages(t *testing.T) []pkg {
	t.Helper()

	all, err := listed()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}

	if len(all) < 5 {
		t.Fatalf("go list found only %d packages: the test looks in the wrong place", len(all))
	}

	return all
}

// ours are those imports that belong to the module, as folders.
func ours(imports []string) []string {
	var folders []string

	for _, path := range imports {
		if folder, ok := strings.CutPrefix(path, module+"/"); ok {
			folders = append(folders, folder)
		}
	}

	return folders
}

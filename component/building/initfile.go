package building

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// Kept is the metadata that a sidecar gave in an Init, read back after a restart. It may hold secrets and does not show
// them.
type Kept struct {
	// Type is state.entities, bindings.entities or pubsub.entities; Name is the component's.
	Type, Name string
	// Topics to which the sidecar had subscribed, of a pubsub.entities.
	Topics     []string
	properties map[string]string
}

// String names the component.
func (k Kept) String() string { return k.Type + " " + k.Name }

// GoString names the component.
func (k Kept) GoString() string { return k.String() }

const (
	initFileVersion = 1
	maxInitFile     = 4 << 20
)

// initFile keeps the last Init of each instance. It is used under the turn of init.
type initFile struct {
	path   string
	logger *slog.Logger
}

type initFileContent struct {
	Version   int                `json:"version"`
	Instances []initFileInstance `json:"instances"`
}

type initFileInstance struct {
	Type     string            `json:"type"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata"`
	Topics   []string          `json:"topics,omitempty"`
}

// load reads the file. There being none is no error. A file that others can read is closed to them, loudly; one that
// belongs to somebody else could have been planted, and is refused.
func (f *initFile) load() ([]Kept, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the init file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the init file: %w", err)
	}
	if !info.Mode().IsRegular() || !ours(info) {
		return nil, fmt.Errorf("the init file %s is not a file of this user; remove it", f.path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		f.logger.Warn("the init file, which may hold secrets, could be read by others; change the secrets", "path", f.path, "mode", info.Mode().Perm().String())
		if err := file.Chmod(0o600); err != nil {
			return nil, fmt.Errorf("close the init file to others: %w", err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, maxInitFile))
	if err != nil {
		return nil, fmt.Errorf("read the init file: %w", err)
	}
	return parseInitFile(data, f.path)
}

// parseInitFile does not wrap the errors of the JSON decoder, which may quote what they do not like.
func parseInitFile(data []byte, path string) ([]Kept, error) {
	var content initFileContent
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("the init file %s is damaged; remove it and restart the sidecar", path)
	}
	if content.Version != initFileVersion {
		return nil, fmt.Errorf("the init file %s is of version %d, not %d; remove it and restart the sidecar", path, content.Version, initFileVersion)
	}
	var kept []Kept
	for _, i := range content.Instances {
		if scopes[i.Type] == 0 {
			return nil, fmt.Errorf("the init file %s names an unknown component type; remove it and restart the sidecar", path)
		}
		kept = append(kept, Kept{Type: i.Type, Name: i.Name, Topics: i.Topics, properties: i.Metadata})
	}
	return kept, nil
}

// save replaces the file, or leaves it as it was.
func (f *initFile) save(kept []Kept) error {
	content := initFileContent{Version: initFileVersion}
	for _, k := range kept {
		content.Instances = append(content.Instances, initFileInstance{Type: k.Type, Name: k.Name, Metadata: k.properties, Topics: k.Topics})
	}
	data, err := json.MarshalIndent(content, "", "\t")
	if err != nil {
		return errors.New("encode the init file")
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), "init-*.json") // 0600
	if err != nil {
		return fmt.Errorf("make the init file: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write the init file: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// remove deletes the file if there is one.
func (f *initFile) remove() error {
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the init file: %w", err)
	}
	return nil
}

// Package sqlite keeps a journal in one SQLite file. It is the back end that needs nothing else.
//
// One process has the file at a time: a lock beside it refuses a second one. One connection writes, with the write-ahead
// log and a full sync for every commit, so that what is Committed survives the loss of power; others read meanwhile.
// Because there is one writer, the order of row ids is the order of commits.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Config of a journal. Path is needed.
type Config struct {
	// Path of the file. It is made if it does not exist; its folder is not.
	Path string
	// Readers is the number of connections that read. Defaults to 4.
	Readers int
	// MaxBytes bounds the size of the file; appends beyond it are refused. Defaults to the disk's size.
	MaxBytes int64
}

func (c *Config) validate() error {
	var errs []error
	switch {
	case c.Path == "":
		errs = append(errs, errors.New("Path is empty; name the file that is to hold the journal"))
	case strings.Contains(c.Path, ":memory:"):
		errs = append(errs, errors.New("Path is :memory:; use the memory journal instead"))
	}
	if c.Readers < 0 || c.MaxBytes < 0 {
		errs = append(errs, errors.New("Readers and MaxBytes must not be negative"))
	}
	c.Readers = cmp.Or(c.Readers, 4)
	return errors.Join(errs...)
}

// Journal is a journal in a file.
type Journal struct {
	path string
	id   string
	lock *os.File
	read *sql.DB

	questions map[string]*sql.Stmt // of read

	// broken is set for good when the disk refused to say whether a commit is on it.
	broken atomic.Pointer[error]

	// running is held for reading by every call, and for writing by Close, which thereby waits for them.
	running sync.RWMutex
	closed  bool

	mu     sync.Mutex // of writer
	writer *writer
}

// Open opens the journal in a file, or makes it.
func Open(ctx context.Context, c Config) (_ *Journal, err error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open sqlite journal: %w", err)
	}
	path, err := resolve(c.Path)
	if err != nil {
		return nil, fmt.Errorf("open sqlite journal %s: %w", c.Path, err)
	}
	j := &Journal{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open sqlite journal %s: %w", c.Path, err), j.release())
		}
	}()
	if j.lock, err = lock(path + ".lock"); err != nil {
		return nil, readOnly(err)
	}
	// SQLite would make it readable for everybody.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, readOnly(err)
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	if j.writer, err = newWriter(ctx, path, c.MaxBytes); err != nil {
		return nil, err
	}
	if j.id, err = j.writer.meta(ctx, "id"); err != nil {
		return nil, err
	}
	j.read, err = sql.Open("sqlite", dsn(path, "query_only(1)", "busy_timeout(10000)"))
	if err != nil {
		return nil, err
	}
	j.read.SetMaxOpenConns(c.Readers)
	j.read.SetMaxIdleConns(c.Readers)
	j.questions = make(map[string]*sql.Stmt, len(questions))
	for _, q := range questions {
		if j.questions[q], err = j.read.PrepareContext(ctx, q); err != nil {
			return nil, fmt.Errorf("prepare %q: %w", q, err)
		}
	}
	return j, nil
}

// readOnly says what to do about a file that cannot be written to.
func readOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w; a journal writes to its file and beside it: give the user of this process the right to, or name another place", err)
	}
	return err
}

// resolve follows links, so that a file has one lock whatever it is called.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the folder %s does not exist; make it first", filepath.Dir(path))
	} else if err != nil {
		return "", err
	}
	path = filepath.Join(folder, filepath.Base(path))
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return path, nil
	case err != nil:
		return "", err
	case info.IsDir():
		return "", errors.New("it is a folder; name a file")
	}
	return filepath.EvalSymlinks(path)
}

func dsn(path string, pragmas ...string) string {
	query := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

// oldest is the first SQLite without the bug that resets a write-ahead log still in use and so loses commits.
var oldest = [3]int{3, 51, 3}

func checkVersion(version string) error {
	var have [3]int
	for i, part := range strings.SplitN(version, ".", 4) {
		if i < len(have) {
			have[i], _ = strconv.Atoi(part)
		}
	}
	for i := range have {
		if have[i] != oldest[i] {
			if have[i] > oldest[i] {
				return nil
			}
			return fmt.Errorf("SQLite %s may lose commits when it resets its log; %d.%d.%d or newer is needed",
				version, oldest[0], oldest[1], oldest[2])
		}
	}
	return nil
}

// Close implements journal.Journal.
func (j *Journal) Close() error {
	j.running.Lock()
	defer j.running.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	if err := j.release(); err != nil {
		return fmt.Errorf("close sqlite journal %s: %w", j.path, err)
	}
	return nil
}

// release lets go of whatever there is.
func (j *Journal) release() error {
	var errs []error
	if j.read != nil {
		errs = append(errs, j.read.Close())
	}
	if j.writer != nil {
		errs = append(errs, j.writer.close())
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close()) // and with it the lock
	}
	return errors.Join(errs...)
}

package building

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what a unix socket's address has room for, on the system with the least.
const maxSocketPath = 103

// socket is a listening socket that the sidecar does not see before publish.
type socket struct {
	net.Listener
	path string // where the sidecar sees it
	own  string // our folder
	mode fs.FileMode
	lock *os.File
	info fs.FileInfo // identifies it once it is published
}

// listen binds the socket in its own folder. It refuses to when a live component serves the same name in that folder.
func listen(folder, name string, mode fs.FileMode) (*socket, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("find the socket folder: %w", err)
	}
	s := &socket{path: filepath.Join(folder, name+".sock"), own: filepath.Join(folder, "."+name), mode: mode}
	bound := filepath.Join(s.own, "s")
	if longest := max(len(s.path), len(bound)); longest > maxSocketPath {
		return nil, fmt.Errorf("the socket %s has a path of %d bytes, which is more than the system's %d; choose a shorter socketFolder",
			s.path, longest, maxSocketPath)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the socket folder: %w", err)
	}
	if err := ownFolder(s.own); err != nil {
		return nil, err
	}
	if s.lock, err = lockFile(filepath.Join(s.own, "lock"), s.path); err != nil {
		return nil, err
	}
	if err := s.bind(bound); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the folder below the socket folder: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at the folder below the socket folder: %w", err)
	}
	if !info.IsDir() || !ours(info) {
		return fmt.Errorf("%s is not a folder of this user; remove it", path)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("close the folder below the socket folder to others: %w", err)
		}
	}
	return nil
}

func lockFile(path, socketPath string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the socket: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, inUse(socketPath)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func inUse(path string) error {
	return fmt.Errorf("%s is served by another process; stop it, or give each sidecar a socketFolder of its own", path)
}

// bind is called under the lock.
func (s *socket) bind(path string) error {
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("look at the old socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and not a socket; remove it", s.path)
	default:
		// The lock was free, but another program may serve under our name.
		c, err := net.DialTimeout("unix", s.path, time.Second)
		if err == nil {
			c.Close()
			return inUse(s.path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("see whether the old socket is still served: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a half-made socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("bind the socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it will have moved
	s.Listener = l
	if err = os.Chmod(path, s.mode); err == nil {
		s.info, err = os.Lstat(path)
	}
	if err != nil {
		l.Close()
		return fmt.Errorf("set the socket's permissions: %w", err)
	}
	return nil
}

// publish shows the socket to the sidecar, in place of a dead one.
func (s *socket) publish() error {
	if err := os.Rename(filepath.Join(s.own, "s"), s.path); err != nil {
		return fmt.Errorf("publish the socket: %w", err)
	}
	return nil
}

// withdraw removes the socket if it is still ours, whether or not it was published.
func (s *socket) withdraw() error {
	var problems []error
	for _, path := range []string{s.path, filepath.Join(s.own, "s")} {
		if info, err := os.Lstat(path); err == nil && os.SameFile(info, s.info) {
			problems = append(problems, os.Remove(path))
		}
	}
	return errors.Join(problems...)
}

// release lets the next component have the name.
func (s *socket) release() { s.lock.Close() }

// ours reports whether the file belongs to this user.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

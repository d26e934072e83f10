// Package atomicfile replaces files whole: after a crash at any instant a file
// has its old content or its new one, complete.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Write makes data the content of the file at path, with permission bits perm
// whatever the umask. It returns once content and name are durable. A symlink at
// path is replaced, not followed. After an error path has its old content or, if
// only the last sync failed, its new one; a temporary file beside it is removed,
// unless the process dies (see Clean).
// Concurrent calls for one path are safe; the last one wins.
func Write(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix(path)+"*")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Remove removes the file at path durably. It is no error if there is none.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return fmt.Errorf("remove %q: %w", path, err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	return nil
}

// Clean removes the temporary files that a killed Write of path left. Only one
// process may use path then.
func Clean(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("clean up after %q: %w", path, err)
	}
	prefix := tempPrefix(path)
	for _, e := range entries {
		name := e.Name()
		if len(name) <= len(prefix) || name[:len(prefix)] != prefix || !digits(name[len(prefix):]) {
			continue
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), name)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("clean up after %q: %w", path, err)
		}
	}
	return nil
}

// tempPrefix begins the names of path's temporary files; digits follow.
func tempPrefix(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// IsTemp reports whether a file of this name is what a Write that was cut short left.
func IsTemp(name string) bool {
	i := strings.LastIndex(name, ".tmp-")
	return i > 0 && name[0] == '.' && digits(name[i+len(".tmp-"):])
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// SyncDir makes the names in the directory at path durable, where the system has
// a way: Windows journals names and offers none.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = syncDir(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}

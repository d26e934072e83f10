package harness

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/blake3"
)

// Journal is a record of what a test's writers did to the trees, kept apart from
// what is tested. A path has one writer at a time; Journal itself is safe for
// concurrent use.
type Journal struct {
	mu   sync.Mutex // guards what follows
	last map[string]written
	all  map[string]map[[32]byte]bool
}

// written is what a file was last made to be.
type written struct {
	sum  [32]byte
	mode fs.FileMode
}

// NewJournal makes an empty one.
func NewJournal() *Journal {
	return &Journal{last: map[string]written{}, all: map[string]map[[32]byte]bool{}}
}

// Write writes content to path below root, then records it: in place, or as most
// editors do into a temporary file that is renamed over it. A file that is there
// keeps its mode only in place.
func (j *Journal) Write(root, path string, content []byte, inPlace bool) error {
	full := filepath.Join(root, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if inPlace {
		if err := os.WriteFile(full, content, 0o644); err != nil {
			return err
		}
	} else {
		tmp := full + ".tmp~"
		if err := os.WriteFile(tmp, content, 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, full); err != nil {
			return err
		}
	}
	st, err := os.Lstat(full)
	if err != nil {
		return err
	}
	sum := blake3.Sum256(content)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last[path] = written{sum, st.Mode().Perm()}
	if j.all[path] == nil {
		j.all[path] = map[[32]byte]bool{}
	}
	j.all[path][sum] = true
	return nil
}

// Remove removes path below root, then records that.
func (j *Journal) Remove(root, path string) error {
	if err := os.Remove(filepath.Join(root, filepath.FromSlash(path))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.last, path)
	return nil
}

// Chmod sets the mode of path below root, if it is there, then records that.
func (j *Journal) Chmod(root, path string, mode fs.FileMode) error {
	if err := os.Chmod(filepath.Join(root, filepath.FromSlash(path)), mode); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if w, ok := j.last[path]; ok {
		w.mode = mode
		j.last[path] = w
	}
	return nil
}

// Rename renames from to to below root, both of one writer, if from is there: a
// file (over what is at to), or a directory with all that is recorded below it (to
// a path where nothing is). Then it records that.
func (j *Journal) Rename(root, from, to string) error {
	old, name := filepath.Join(root, filepath.FromSlash(from)), filepath.Join(root, filepath.FromSlash(to))
	st, err := os.Lstat(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := os.Lstat(name); st.IsDir() && err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Rename(old, name); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range slices.Collect(maps.Keys(j.last)) {
		rest, below := strings.CutPrefix(p, from+"/")
		if p != from && !below {
			continue
		}
		q := to
		if below {
			q += "/" + rest
		}
		w := j.last[p]
		delete(j.last, p)
		j.last[q] = w
		if j.all[q] == nil {
			j.all[q] = map[[32]byte]bool{}
		}
		j.all[q][w.sum] = true
	}
	return nil
}

// Len is how many paths should be there now.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.last)
}

// Paths lists them, in order.
func (j *Journal) Paths() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]string, 0, len(j.last))
	for p := range j.last {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Check reports what of the last writes is not in t: each path with the content
// written and the mode set last, and none that was removed.
func (j *Journal) Check(t Tree) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var bad []string
	for p, w := range j.last {
		sum := w.sum
		switch e, ok := t[p]; {
		case !ok:
			bad = append(bad, fmt.Sprintf("%q is lost", p))
		case e.Sum != sum && j.all[p][e.Sum]:
			bad = append(bad, fmt.Sprintf("%q holds an older version", p))
		case e.Sum != sum:
			bad = append(bad, fmt.Sprintf("%q holds bytes that nobody wrote: %s…", p, hex.EncodeToString(e.Sum[:4])))
		case e.Mode.Perm() != w.mode:
			bad = append(bad, fmt.Sprintf("%q has the mode %v, and was given %v", p, e.Mode.Perm(), w.mode))
		}
	}
	for p := range j.all {
		if _, there := j.last[p]; !there {
			if _, ok := t[p]; ok {
				bad = append(bad, fmt.Sprintf("%q was removed and is back", p))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

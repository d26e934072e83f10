package folder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	ours, other := id.Folder{1}, id.Folder{2}
	mark := func(root string, f id.Folder) error {
		return errors.Join(os.MkdirAll(filepath.Dir(MarkerPath(root)), 0o700), os.WriteFile(MarkerPath(root), []byte(f.String()+"\n"), 0o600))
	}
	for _, c := range []struct {
		name, say string
		make      func(root string) error
	}{
		{"no root", "is not there", func(string) error { return nil }},
		{"an empty mount point", "not mounted", func(root string) error { return os.Mkdir(root, 0o755) }},
		{"no marker", "no folder's marker", func(root string) error { return os.MkdirAll(filepath.Join(root, "d"), 0o755) }},
		{"another folder's", other.String(), func(root string) error { return mark(root, other) }},
		{"a marker of garbage", `holds another folder (its marker says "\x00")`, func(root string) error {
			return errors.Join(mark(root, ours), os.WriteFile(MarkerPath(root), []byte{0}, 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			if err := c.make(root); err != nil {
				t.Fatal(err)
			}
			cause := CheckRoot(root, ours)
			err := explain(root, ours, cause)
			if !errors.Is(err, watcher.ErrRootMissing) || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), root) {
				t.Errorf("%v explained as %v, which does not say %q", cause, err, c.say)
			}
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
	if err := errors.New("another"); explain("/", ours, err) != err {
		t.Error("another error was changed")
	}
}

package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// What is committed at once when a folder is added is told, and only once.
func TestFirstCommitIsAnEvent(t *testing.T) {
	base, h := newHome(t)
	root := filepath.Join(base, "docs")
	if err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, "f"), []byte("hello"), 0o644)); err != nil {
		t.Fatal(err)
	}
	ctx := minute(t)
	defer startNode(t, ctx, h)()
	c := control.NewClient(h)
	if _, err := c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(root)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var kinds []string
	since := uint64(0)
	err := c.Events(ctx, control.EventsRequest{Since: &since}, func(list []control.Event) error {
		for _, e := range list {
			kinds = append(kinds, e.Kind)
			if e.Kind == "on-disk" {
				cancel()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	commits := slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k != "commit" })
	if added := slices.Index(kinds, "folder-added"); len(commits) != 1 || added < 0 || added > slices.Index(kinds, "commit") {
		t.Errorf("events %v", kinds)
	}
}

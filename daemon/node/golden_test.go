package node

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/golden"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

func goldenConfigs() map[string]config {
	return map[string]config{
		"node_first.golden":  {Version: 1, Cluster: id.Cluster{0xcc, 15: 1}, Name: "desk", Listen: "0.0.0.0:7417", Advertise: "192.0.2.1:7417", First: true},
		"node_follow.golden": {Version: 1, Cluster: id.Cluster{0xcc, 15: 1}, Name: "desk", Listen: ":7417", Advertise: "192.0.2.1:7417", First: true, Follow: true},
		"node_joined.golden": {
			Version: 1, Cluster: id.Cluster{0xcc, 15: 1}, Name: "laptop-2", Listen: "[::]:7417", Advertise: "[2001:db8::1]:7417",
			Members: []meta.NodeRecord{
				{ID: id.Node{1}, Name: "desk", Address: "192.0.2.1:7417", Role: meta.RoleVoter, AdmittedBy: id.Node{1}, Signature: []byte{1, 2, 0xff}, Added: time.Unix(5, 6).UTC()},
				{ID: id.Node{2}, Name: "laptop-2", Address: "[2001:db8::1]:7417", Role: meta.RoleLearner, AdmittedBy: id.Node{1}, Added: time.Unix(1<<31, 0).UTC()},
			},
		},
	}
}

// TestGoldenConfig: node.json has no checksum; it is written whole or not at all.
// What it refuses is a cut, an unknown field and another version.
func TestGoldenConfig(t *testing.T) {
	t.Parallel()
	for name, want := range goldenConfigs() {
		h := home(t.TempDir())
		if err := h.save(want); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(string(h), "node.json"))
		if err != nil {
			t.Fatal(err)
		}
		stored := golden.Text(t, name, string(data))
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(h.config(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(stored)
		if got, err := h.load(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
		for n := range len(stored) - 2 { // the last two are "}\n"
			write(stored[:n])
			if _, err := h.load(); err == nil || errors.Is(err, ErrNoNode) {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		for what, text := range map[string]string{
			"a later version":  strings.Replace(stored, `"version": 1`, `"version": 2`, 1),
			"no version":       strings.Replace(stored, `"version": 1,`, ``, 1),
			"an unknown field": strings.Replace(stored, `"name"`, `"nome"`, 1),
		} {
			write(text)
			if _, err := h.load(); err == nil {
				t.Errorf("%s: %s is taken", name, what)
			}
		}
	}
}

// TestGoldenMarker holds the marker of a folder's root.
func TestGoldenMarker(t *testing.T) {
	t.Parallel()
	root, f := t.TempDir(), id.Folder{0xf0, 1, 15: 0xff}
	if err := mark(root, f); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, ".lockstep", "folder")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stored := golden.Text(t, "marker.golden", string(data))
	if err := folder.CheckRoot(root, f); err != nil {
		t.Error(err)
	}
	if err := mark(root, f); err != nil {
		t.Errorf("mark again: %v", err)
	}
	for at := range len(stored) - 1 { // the last is the newline
		for _, bad := range []string{stored[:at], stored[:at] + "7" + stored[at+1:]} {
			if bad == stored {
				continue
			}
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := folder.CheckRoot(root, f); err == nil {
				t.Errorf("marker %q is taken for %s", bad, f)
			}
			if err := mark(root, f); !errors.Is(err, errMarked) {
				t.Errorf("marker %q is written over: %v", bad, err)
			}
		}
	}
}

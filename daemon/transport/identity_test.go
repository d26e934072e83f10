package transport

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func TestIdentityIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load of none: %v", err)
	}
	i := newIdentityT(t)
	if err := SaveIdentity(dir, i); err != nil {
		t.Fatal(err)
	}
	got, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != i.ID() {
		t.Errorf("loaded %s, saved %s", got.ID(), i.ID())
	}
	if err := SaveIdentity(dir, newIdentityT(t)); !errors.Is(err, ErrIdentityExists) {
		t.Errorf("a second save: %v, want ErrIdentityExists", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	path := filepath.Join(dir, KeyFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, ErrKeyExposed) {
		t.Errorf("load of an open key: %v, want ErrKeyExposed", err)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	i, msg := newIdentityT(t), []byte("lockstep test")
	sig := i.Sign(msg)
	other := newIdentityT(t).ID()
	cases := []struct {
		name string
		node id.Node
		msg  []byte
		sig  []byte
		want bool
	}{
		{"good", i.ID(), msg, sig, true},
		{"other node", other, msg, sig, false},
		{"other message", i.ID(), []byte("x"), sig, false},
		{"short", i.ID(), msg, sig[:63], false},
		{"none", i.ID(), msg, nil, false},
		{"no node", id.Node{}, msg, sig, false},
	}
	for _, c := range cases {
		if got := Verify(c.node, c.msg, c.sig); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i, err := parseIdentity(data); err == nil && i.ID().IsZero() {
			t.Error("identity without a key")
		}
	})
}

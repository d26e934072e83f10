package control_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/controltest"
)

// The bytes of a file go to the daemon as a stream, after it has asked for them.
func TestResolveStream(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	refuse, read := false, int64(0)
	controltest.Serve(t, home, &controltest.Fake{OnResolve: func(r control.ResolveRequest, with io.Reader) (res control.ResolveResult, err error) {
		if refuse {
			return res, control.Errorf(control.CodeFailed, "it is resolved already")
		}
		read, err = io.Copy(io.Discard, with)
		res.ID, res.Resolution = r.ID(), r.Keep
		return res, err
	}})
	c := control.NewClient(home)
	ask := func(size int64, r io.Reader) (control.ResolveResult, error) {
		return c.ConflictResolve(t.Context(), control.ResolveRequest{
			ConflictRequest: control.ConflictRequest{Folder: "docs", Number: 1}, Keep: control.KeepWith, With: &control.WithFile{Size: size}, Message: "größer",
		}, r)
	}
	const large = 20 << 20
	for _, n := range []int64{0, 1, large} {
		res, err := ask(n, bytes.NewReader(make([]byte, n)))
		if err != nil || read != n || res.ID != "docs#1" || res.Resolution != control.KeepWith {
			t.Errorf("%d: read %d, %+v, %v", n, read, res, err)
		}
	}
	if res, err := c.ConflictResolve(t.Context(), control.ResolveRequest{ConflictRequest: control.ConflictRequest{Folder: "docs", Number: 1}, Keep: "both"}, nil); err != nil || res.Resolution != "both" {
		t.Errorf("%+v %v", res, err)
	}
	// What the reader says reaches the caller, and nothing is taken for whole.
	bad := errors.New("it changed while it was read")
	if _, err := ask(large, io.MultiReader(bytes.NewReader(make([]byte, large/2)), failing{bad})); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	refuse = true
	if _, err := ask(large, bytes.NewReader(make([]byte, large))); err == nil || !strings.Contains(err.Error(), "resolved already") {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

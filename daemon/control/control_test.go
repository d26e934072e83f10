package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/control/controltest"
)

// home returns a home with a short path, whatever TMPDIR is.
func home(t *testing.T) string {
	t.Helper()
	h, err := os.MkdirTemp("", "ls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(h) })
	return h
}

func TestStatusKeysAreTheContract(t *testing.T) {
	t.Parallel()
	h := home(t)
	controltest.Serve(t, h, &controltest.Fake{
		OnStatus: func(control.StatusRequest) (control.Status, error) {
			return control.Status{Folders: []control.FolderStatus{{Name: "docs", HeadRevision: 3}}}, nil
		},
	})
	st, err := control.NewClient(h).Status(t.Context(), control.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"node":    {"id", "name", "version", "address", "uptime_s"},
		"cluster": {"id", "leader", "term", "has_quorum", "nodes"},
	}
	for obj, keys := range want {
		for _, k := range keys {
			if v, ok := m[obj].(map[string]any)[k]; !ok || v == nil {
				t.Errorf("%s.%s: missing or null in %s", obj, k, raw)
			}
		}
	}
	f := m["folders"].([]any)[0].(map[string]any)
	for _, k := range []string{"name", "path", "state", "head_revision", "applied_revision", "history_hash",
		"files", "bytes", "local_changes", "pending_files", "pending_bytes", "conflicts_open", "blocked",
		"held", "mode", "kept", "not_brought", "unprotected_bytes", "wire_bytes_sent", "wire_bytes_received", "nodes"} {
		if v, ok := f[k]; !ok || v == nil {
			t.Errorf("folders[0].%s: missing or null", k)
		}
	}
}

func TestErrorsKeepTheirClass(t *testing.T) {
	t.Parallel()
	h := home(t)
	cause := control.Errorf(control.CodeTimeout, "wait for %q: 2 files are missing", "docs").
		WithHint("is node b online?").
		WithPaths([]control.BlockedPath{control.NewBlockedPath("a\xff", "no member online has it")})
	controltest.Serve(t, h, &controltest.Fake{
		OnWait: func(context.Context, control.WaitRequest) (control.WaitResult, error) {
			return control.WaitResult{}, cause
		},
		OnFolders: func() ([]control.Folder, error) { return nil, fmt.Errorf("list folders: %w", cause) },
		OnNodes:   func() ([]control.ClusterMember, error) { return nil, errors.New("plain") },
	})
	c := control.NewClient(h)
	_, err := c.Wait(t.Context(), control.WaitRequest{Timeout: time.Second})
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Code != control.CodeTimeout || e.Hint != "is node b online?" || len(e.Paths) != 1 {
		t.Fatalf("wait: %#v", err)
	}
	if p, err := control.DecodePath(e.Paths[0].Path, e.Paths[0].PathB64); err != nil || p != "a\xff" {
		t.Errorf("path: %q, %v", p, err)
	}
	if _, err := c.Wait(t.Context(), control.WaitRequest{}); control.CodeOf(err) != control.CodeUsage {
		t.Errorf("wait without a timeout: %v", err)
	}
	if _, err := c.Folders(t.Context()); control.CodeOf(err) != control.CodeTimeout || !strings.HasPrefix(err.Error(), "list folders: ") {
		t.Errorf("wrapped: %v", err)
	}
	if _, err := c.Nodes(t.Context()); control.CodeOf(err) != control.CodeFailed || err.Error() != "plain" {
		t.Errorf("plain: %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	t.Parallel()
	h := home(t)
	check := func(name, home string) {
		t.Helper()
		_, err := control.NewClient(home).Status(t.Context(), control.StatusRequest{})
		if control.CodeOf(err) != control.CodeNotRunning || !strings.Contains(err.Error(), home) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("no home", filepath.Join(h, "missing"))
	check("no socket", h)
	// A daemon that was killed leaves its socket.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(h, "control.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	check("stale socket", h)

	controltest.Serve(t, h, &controltest.Fake{}) // replaces the stale one
	if _, err := control.NewClient(h).Nodes(t.Context()); control.CodeOf(err) != control.CodeFailed {
		t.Errorf("after the restart: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	h := home(t)
	block := make(chan struct{})
	controltest.Serve(t, h, &controltest.Fake{
		OnNodes: func() ([]control.ClusterMember, error) { <-block; return nil, nil },
	})
	t.Cleanup(func() { close(block) })
	c := control.NewClient(h)
	c.Timeout = 20 * time.Millisecond
	if _, err := c.Nodes(t.Context()); control.CodeOf(err) != control.CodeTimeout {
		t.Errorf("got %v", err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	long := filepath.Join(home(t), strings.Repeat("long/", 20))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]string{"short": home(t), "long": long} {
		t.Run(name, func(t *testing.T) {
			l, err := control.Listen(h)
			if err != nil {
				t.Fatal(err)
			}
			p := control.SocketPath(h)
			if len(p) > 100 {
				t.Errorf("%q is %d bytes long", p, len(p))
			}
			st, err := os.Lstat(p)
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", st.Mode())
			}
			if _, err := control.Listen(h); !errors.Is(err, control.ErrInUse) {
				t.Errorf("second daemon: %v", err)
			}
			l.Close()
			if _, err := os.Lstat(p); !os.IsNotExist(err) {
				t.Errorf("socket after Close: %v", err)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const n = 5000
	h := home(t)
	var fail error
	controltest.Serve(t, h, &controltest.Fake{
		OnLog: func(r control.LogRequest, emit func(control.LogEntry) error) (control.Freshness, error) {
			for i := range n {
				e := control.LogEntry{Commit: &control.LogCommit{Revision: uint64(n - i), Message: "edit"}}
				if err := emit(e); err != nil {
					return control.Freshness{}, err
				}
			}
			return control.Freshness{LeaderContactS: 1.5}, fail
		},
	})
	c := control.NewClient(h)
	var got int
	count := func(control.LogEntry) error { got++; return nil }
	f, err := c.Log(t.Context(), control.LogRequest{}, count)
	if err != nil || got != n || f.LeaderContactS != 1.5 {
		t.Errorf("got %d entries, freshness %v, %v", got, f, err)
	}
	fail = control.Errorf(control.CodeNoQuorum, "lost it in the middle")
	if _, err := c.Log(t.Context(), control.LogRequest{}, count); control.CodeOf(err) != control.CodeNoQuorum {
		t.Errorf("error in mid-stream: %v", err)
	}
	stop := errors.New("enough")
	if _, err := c.Log(t.Context(), control.LogRequest{}, func(control.LogEntry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped by the reader: %v", err)
	}
}

func TestCat(t *testing.T) {
	t.Parallel()
	h := home(t)
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	info := control.CatInfo{Folder: "docs", Path: "é", Revision: 7, Size: int64(len(body))}
	var send int
	var fail error
	controltest.Serve(t, h, &controltest.Fake{
		OnCat: func(r control.CatRequest, start func(control.CatInfo) io.Writer) error {
			if r.Target.Rel != "a\xff" {
				return control.Errorf(control.CodeFailed, "no such path %q", r.Target.Rel)
			}
			if _, err := start(info).Write(body[:send]); err != nil {
				return err
			}
			return fail
		},
	})
	c := control.NewClient(h)
	cat := func(rel string) (string, control.CatInfo, error) {
		var buf bytes.Buffer
		var got control.CatInfo
		err := c.Cat(t.Context(), control.CatRequest{Target: control.Target{Folder: "docs", Rel: control.RawPath(rel)}},
			func(i control.CatInfo) io.Writer { got = i; return &buf })
		return buf.String(), got, err
	}
	send = len(body)
	if got, i, err := cat("a\xff"); err != nil || got != string(body) || i != info {
		t.Errorf("got %d bytes, %+v, %v", len(got), i, err)
	}
	if _, _, err := cat("b"); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("missing path: %v", err)
	}
	send = len(body) / 2
	if _, _, err := cat("a\xff"); err == nil {
		t.Error("half the bytes and no error")
	}
	fail = control.Errorf(control.CodeFailed, "chunk é is missing")
	if _, _, err := cat("a\xff"); err == nil || !strings.Contains(err.Error(), "chunk é") {
		t.Errorf("error in mid-stream: %v", err)
	}
}

func TestShutdownEndsRequests(t *testing.T) {
	t.Parallel()
	h := home(t)
	l, err := control.Listen(h)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	f := &controltest.Fake{OnWait: func(ctx context.Context, _ control.WaitRequest) (control.WaitResult, error) {
		close(started)
		<-ctx.Done()
		return control.WaitResult{}, context.Cause(ctx)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(f, slog.New(slog.DiscardHandler)).Run(ctx, l) }()
	waited := make(chan error, 1)
	go func() {
		_, err := control.NewClient(h).Wait(t.Context(), control.WaitRequest{Timeout: time.Hour})
		waited <- err
	}()
	<-started
	cancel()
	if err := <-waited; err == nil {
		t.Error("wait ended without an error")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestProfileAndUnknown(t *testing.T) {
	t.Parallel()
	h := home(t)
	controltest.Serve(t, h, &controltest.Fake{
		OnTrace: func(r control.TraceRequest) ([]control.Step, error) {
			return []control.Step{{Name: string(r.Target.Rel)}}, nil
		},
	})
	c := control.NewClient(h)
	var buf bytes.Buffer
	if err := c.Profile(t.Context(), "goroutine", &buf); err != nil || buf.Len() == 0 {
		t.Errorf("%d bytes, %v", buf.Len(), err)
	}
	if err := c.Profile(t.Context(), "../nothing", &buf); err == nil {
		t.Error("unknown request: no error")
	}
	steps, err := c.Trace(t.Context(), control.TraceRequest{Target: control.Target{Folder: "d", Rel: "a\xff b"}})
	if err != nil || len(steps) != 1 || !strings.HasPrefix(steps[0].Name, "a") {
		t.Errorf("%v, %v", steps, err)
	}
}

func TestPathEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := string(rapid.SliceOf(rapid.Byte()).Draw(t, "path"))
		text, b64 := control.EncodePath(p)
		if back, err := control.DecodePath(text, b64); err != nil || back != p {
			t.Fatalf("%q -> %q %q -> %q, %v", p, text, b64, back, err)
		}
		raw, err := json.Marshal(control.RawPath(p))
		if err != nil {
			t.Fatal(err)
		}
		var back control.RawPath
		if err := json.Unmarshal(raw, &back); err != nil || string(back) != p {
			t.Fatalf("%q -> %s -> %q, %v", p, raw, back, err)
		}
	})
}

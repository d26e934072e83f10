package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/internal/atomicfile"
)

const (
	// maxSocketPath is the longest socket path used directly, in bytes. The systems
	// allow 103 (macOS) to 107 (Linux); some room is left.
	maxSocketPath = 100
	socketName    = "control.sock"
	// pointerName is the file in the home that holds the socket's path where that
	// is not HOME/control.sock. A client cannot compute it, for its environment may
	// differ from the daemon's.
	pointerName = "control.path"
	// bindName is the private directory in which the socket is bound before it is
	// moved into place: nobody can reach it before its mode is 0600.
	bindName = ".ctl"
)

// ErrInUse is returned by Listen when a daemon already serves the home.
var ErrInUse = errors.New("another daemon is running on this home")

// SocketPath returns where the daemon of home listens: HOME/control.sock, or a
// path in a short run directory where that is over 100 bytes. It reads what the
// last daemon left.
func SocketPath(home string) string {
	direct := filepath.Join(home, socketName)
	b, err := os.ReadFile(filepath.Join(home, pointerName))
	if err != nil {
		return direct
	}
	if p := strings.TrimSpace(string(b)); filepath.IsAbs(p) {
		return p
	}
	return direct
}

// Listen opens the control socket of home with mode 0600. A socket that nobody
// serves any more is replaced. Closing the listener removes the socket. The
// caller holds the home's lock, so that no two Listen at once.
func Listen(home string) (net.Listener, error) {
	home, err := filepath.Abs(home)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	path, err := choosePath(home)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("open control socket %q: %w", path, ErrInUse)
	}
	l, err := bind(path)
	if err != nil {
		return nil, fmt.Errorf("open control socket %q: %w", path, err)
	}
	return l, nil
}

// choosePath returns the socket's path and leaves a pointer to it in the home
// where a client could not guess it.
func choosePath(home string) (string, error) {
	pointer := filepath.Join(home, pointerName)
	direct := filepath.Join(home, socketName)
	if len(direct) <= maxSocketPath {
		if err := os.Remove(pointer); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return direct, nil
	}
	dir, err := runDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(home))
	path := filepath.Join(dir, hex.EncodeToString(sum[:8])+".sock")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("path %q is longer than %d bytes: set XDG_RUNTIME_DIR to a shorter directory", path, maxSocketPath)
	}
	return path, atomicfile.Write(pointer, []byte(path+"\n"), 0o600)
}

// runDir makes and checks this user's private run directory.
func runDir() (string, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	name := "lockstep"
	if base == "" || len(base) > maxSocketPath-32 {
		base = os.TempDir()
		if len(base) > maxSocketPath-48 && runtime.GOOS != "windows" {
			base = "/tmp"
		}
		name = fmt.Sprintf("lockstep-%d", os.Getuid())
	}
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	// In a shared /tmp somebody else may have made it: then it is not ours to trust.
	if !st.IsDir() || !ownedByUs(st) || (runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0) {
		return "", fmt.Errorf("run directory %q is not a private directory of this user: remove it or set XDG_RUNTIME_DIR", dir)
	}
	return dir, nil
}

// bind makes the socket in a private directory, sets its mode, then moves it into
// place, which also replaces one that a killed daemon left.
func bind(path string) (net.Listener, error) {
	if runtime.GOOS == "windows" { // no modes and no rename of sockets: the home's ACL guards it
		os.Remove(path)
		return net.Listen("unix", path)
	}
	dir := filepath.Join(filepath.Dir(path), bindName)
	if name := filepath.Base(path); name != socketName {
		// The run directory is shared by this user's nodes, some of which start now. No
		// longer than the socket's own name.
		dir = filepath.Join(filepath.Dir(path), "."+strings.TrimSuffix(name, ".sock"))
	}
	tmp := filepath.Join(dir, "s")
	os.Remove(tmp)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	defer os.Remove(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(tmp, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		os.Remove(tmp)
		return nil, err
	}
	return &listener{l, path}, nil
}

// listener removes its socket when it is closed.
type listener struct {
	*net.UnixListener
	path string
}

func (l *listener) Close() error {
	err := l.UnixListener.Close()
	os.Remove(l.path)
	return err
}

// dial connects to home's daemon. Where none serves, the error is CodeNotRunning.
func dial(ctx context.Context, home string) (net.Conn, error) {
	var d net.Dialer
	path := SocketPath(home)
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, Errorf(CodeFailed, "connect to the daemon of home %q: the control socket belongs to another user: %w", home, fs.ErrPermission).
			WithHint("run the command as the user who runs the daemon")
	}
	return nil, notRunning(home, err)
}

func notRunning(home string, cause error) *Error {
	e := &Error{Code: CodeNotRunning, cause: cause}
	if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) {
		e.Message = fmt.Sprintf("no node in home %q", home)
		e.Hint = "make one with `lockstep init`, or start with `lockstep up PATH`"
		return e
	}
	e.Message = fmt.Sprintf("the daemon of home %q is not running", home)
	e.Hint = "start it with `lockstep daemon`"
	return e
}

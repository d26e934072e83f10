// Package failpoint lets tests fail or kill a daemon at named places. A place
// that is not armed costs one atomic load.
//
// Places are armed in a process's environment,
//
//	LOCKSTEP_FAILPOINTS="queue.synced=kill@3,stage.fsync=error"
//
// or by a test with Set. The actions are error (Hit returns ErrInjected), kill
// (the process kills itself with SIGKILL: nothing deferred runs, nothing is
// flushed) and off. With @N the action is taken by the N-th hit alone, counted
// from 1; without it by every hit.
//
// Names are package.place, in lower case, and belong to the package that hits
// them; docs of a package list its places.
package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Env is the environment variable that arms places at the start of a process.
const Env = "LOCKSTEP_FAILPOINTS"

// ErrInjected is what the action "error" makes Hit return.
var ErrInjected = errors.New("injected failure")

var (
	armed atomic.Int32 // number of armed places: Hit's fast way out

	mu     sync.Mutex // guards points
	points = map[string]func() error{}

	// envErr keeps a malformed Env until Check asks for it: a package cannot refuse
	// to be loaded, and a typing error in a test must not pass silently.
	envErr error
)

func init() {
	if spec := os.Getenv(Env); spec != "" {
		envErr = Arm(spec)
	}
}

// Check returns the error in the environment variable Env, if there is one. The
// daemon calls it at its start.
func Check() error { return envErr }

// Hit is called at the place name. It returns nil unless the place is armed.
// Concurrent hits are safe.
func Hit(name string) error {
	if armed.Load() == 0 {
		return nil
	}
	mu.Lock()
	f := points[name]
	mu.Unlock()
	if f == nil {
		return nil
	}
	return f() // outside mu: an action may block or set other places
}

// Set arms the place name with f, which Hit calls, concurrently if it is hit so.
// A nil f disarms it.
func Set(name string, f func() error) {
	mu.Lock()
	defer mu.Unlock()
	if f == nil {
		delete(points, name)
	} else {
		points[name] = f
	}
	armed.Store(int32(len(points)))
}

// Reset disarms every place.
func Reset() {
	mu.Lock()
	defer mu.Unlock()
	clear(points)
	armed.Store(0)
}

// Arm arms the places of a specification as in Env. Nothing is armed when it
// returns an error.
func Arm(spec string) error {
	actions := map[string]func() error{}
	for item := range strings.SplitSeq(spec, ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" {
			return fmt.Errorf("failpoint %q: want NAME=ACTION", item)
		}
		f, err := parseAction(name, action)
		if err != nil {
			return err
		}
		actions[name] = f
	}
	for name, f := range actions {
		Set(name, f)
	}
	return nil
}

func parseAction(name, action string) (func() error, error) {
	verb, at, counted := strings.Cut(action, "@")
	var n uint64
	if counted {
		var err error
		if n, err = strconv.ParseUint(at, 10, 32); err != nil || n == 0 {
			return nil, fmt.Errorf("failpoint %q: count %q: want a number from 1", name, at)
		}
	}
	var f func() error
	switch verb {
	case "off":
		return nil, nil
	case "error":
		f = func() error { return fmt.Errorf("%s: %w", name, ErrInjected) }
	case "kill":
		f = kill
	default:
		return nil, fmt.Errorf("failpoint %q: unknown action %q", name, verb)
	}
	if !counted {
		return f, nil
	}
	var hits atomic.Uint64
	return func() error {
		if hits.Add(1) != n {
			return nil
		}
		return f()
	}, nil
}

// kill ends this process as kill -9 does, and does not return.
func kill() error {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {} // until the signal is delivered
}

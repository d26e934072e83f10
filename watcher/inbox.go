package watcher

import "sync"

// maxEvents bounds the events that wait for the loop. Beyond it they are dropped
// as if the system's queue had overflowed: the folder is scanned. A lower bound
// would scan where a burst could still be followed; 2^17 are about 20 MB.
const maxEvents = 1 << 17

// op is what an event says happened to a path.
type op uint8

const (
	opWrite  op = iota // content or attributes changed
	opCreate           // something new is at the path
	opGone             // what was at the path is not there any more
)

// event is one event. name is the path as the system says it.
type event struct {
	name string
	op   op
}

// inbox brings events and requests to the loop, in order. Adding never blocks, so
// the system's own queue is always emptied at once.
type inbox struct {
	signal chan struct{} // has a token when something was added

	mu     sync.Mutex // guards all below
	events []event
	wrote  map[string]struct{} // names with an opWrite in events and nothing after it
	calls  []func(*loop)
	lost   bool // events were dropped
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), wrote: make(map[string]struct{})}
}

func (in *inbox) wake() {
	select {
	case in.signal <- struct{}{}:
	default:
	}
}

// call has the loop run f.
func (in *inbox) call(f func(*loop)) {
	in.mu.Lock()
	in.calls = append(in.calls, f)
	in.mu.Unlock()
	in.wake()
}

// event adds an event. A write to a path that is there already says nothing new.
func (in *inbox) event(e event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if e.op == opWrite {
		if _, there := in.wrote[e.name]; there {
			return
		}
	}
	if len(in.events) >= maxEvents {
		in.lose()
		return
	}
	if e.op == opWrite {
		in.wrote[e.name] = struct{}{}
	} else {
		delete(in.wrote, e.name)
	}
	in.events = append(in.events, e)
	in.wake()
}

// overflow says that the system has dropped events.
func (in *inbox) overflow() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lose()
}

// lose drops what waits: everything is scanned instead. mu is held.
func (in *inbox) lose() {
	in.lost = true
	in.events = nil
	clear(in.wrote)
	in.wake()
}

// take empties the inbox.
func (in *inbox) take() (events []event, calls []func(*loop), lost bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	events, calls, lost = in.events, in.calls, in.lost
	in.events, in.calls, in.lost = nil, nil, false
	if len(in.wrote) > 0 {
		clear(in.wrote)
	}
	return events, calls, lost
}

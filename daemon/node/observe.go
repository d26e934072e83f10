package node

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/events"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// keptEvents bounds the events in memory, to about 2 MiB.
	keptEvents = 8192
	// observeGap is the least time between two looks: under continuous writing the
	// events of that time are told together.
	observeGap = 100 * time.Millisecond
	// maxCommitEvents bounds the commits told one by one at a look; of more, the newest.
	maxCommitEvents = 500
	// maxBlockedEvents bounds the blocked paths of a folder that are told one by one.
	maxBlockedEvents = 200
)

// observer tells what changes in the node's state, as events.
type observer struct {
	n    *Node
	last observed
	// engines are those that are waited for, each with what ends the waiting.
	engines map[*folder.Engine]context.CancelFunc
	waiting sync.WaitGroup
}

// observed is what is compared.
type observed struct {
	leader  string
	quorum  bool
	nodes   map[string]bool // online
	folders map[id.Folder]observedFolder
	// heads are those of the cluster's folders, on this node or not.
	heads map[id.Folder]id.Revision
}

type observedFolder struct {
	name, state, why string
	head, onDisk     id.Revision
	conflicts, held  int
	blocked          map[id.Path]string
}

// observe keeps n.events until ctx ends. It has no ticker: it looks when the log, the
// members or a folder has changed.
func (n *Node) observe(ctx context.Context) error {
	applied, stopApplied := n.machine.Watch()
	defer stopApplied()
	heard, stopHeard := n.peers.Watch()
	defer stopHeard()
	led, stopLed := n.raft.WatchLeader()
	defer stopLed()
	o := &observer{n: n, engines: make(map[*folder.Engine]context.CancelFunc)}
	defer func() {
		for _, cancel := range o.engines {
			cancel()
		}
		o.waiting.Wait()
	}()
	n.events.Add(events.Event{Kind: "started"})
	for first := true; ; {
		now, err := o.look()
		if err == nil && !first {
			var list []events.Event
			list, err = o.changes(now)
			n.events.Add(list...)
		}
		if err != nil { // it is told at the next look; nothing else depends on it
			n.log.Warn("observe the node", "error", err)
		} else {
			o.last, first = now, false
		}
		o.follow(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
		case <-heard:
		case <-led:
		case <-n.changes.kick:
		}
		n.changes.bump()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(observeGap):
		}
	}
}

// follow waits for each running engine's changes in a goroutine of its own.
func (o *observer) follow(ctx context.Context) {
	live := make(map[*folder.Engine]bool)
	for _, e := range o.n.folders.all() {
		live[e] = true
		if o.engines[e] != nil {
			continue
		}
		ectx, cancel := context.WithCancel(ctx)
		o.engines[e] = cancel
		o.waiting.Go(func() { o.await(ectx, e) })
	}
	for e, cancel := range o.engines {
		if !live[e] {
			cancel()
			delete(o.engines, e)
		}
	}
}

// await asks for a look now, and whenever the engine says that it has changed. It takes
// the next channel before it asks: what changes after that is looked at in any case.
func (o *observer) await(ctx context.Context, e *folder.Engine) {
	for {
		changed := e.Changed()
		o.n.changes.look()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(observeGap):
		}
	}
}

// look takes the state that is compared.
func (o *observer) look() (now observed, err error) {
	s := service{o.n}
	c := s.cluster()
	now = observed{leader: c.Leader, quorum: c.HasQuorum, nodes: make(map[string]bool), folders: make(map[id.Folder]observedFolder)}
	for _, m := range c.Nodes {
		now.nodes[m.Name] = m.Online
	}
	v := o.n.machine.View()
	defer func() { err = errors.Join(err, v.Close()) }()
	if now.heads, err = heads(v); err != nil {
		return now, err
	}
	for f, e := range o.n.folders.all() {
		st, err := s.folder(v, f, e, c.HasQuorum)
		if err != nil {
			return now, err
		}
		o.n.lags.note(f, st.HeadRevision, st.Nodes)
		in := observedFolder{
			name: st.Name, state: string(st.State), why: st.Error, head: id.Revision(st.HeadRevision), onDisk: id.Revision(st.AppliedRevision),
			conflicts: st.ConflictsOpen, blocked: make(map[id.Path]string),
		}
		for _, h := range st.Held {
			in.held += h.Deletes
		}
		for _, b := range st.Blocked {
			if p, err := control.DecodePath(b.Path, b.PathB64); err == nil {
				in.blocked[id.Path(p)] = b.Reason
			}
		}
		now.folders[f] = in
	}
	return now, nil
}

// heads returns the newest revision of each folder.
func heads(v *meta.View) (map[id.Folder]id.Revision, error) {
	list, err := v.Folders()
	if err != nil {
		return nil, err
	}
	out := make(map[id.Folder]id.Revision, len(list))
	for _, f := range list {
		c, err := v.Head(f.ID)
		if err != nil {
			return nil, err
		}
		out[f.ID] = c.Revision
	}
	return out, nil
}

// changes are the events that make now of what was last.
func (o *observer) changes(now observed) (out []events.Event, err error) {
	was := o.last
	if now.leader != was.leader {
		if now.leader == "" {
			o.n.changes.lost(time.Now())
		}
		out = append(out, events.Event{Kind: "leader", Node: now.leader})
	}
	if now.quorum != was.quorum {
		out = append(out, events.Event{Kind: "quorum", Detail: map[bool]string{true: "there is a quorum", false: "no quorum"}[now.quorum]})
	}
	for _, name := range slices.Sorted(maps.Keys(now.nodes)) {
		before, known := was.nodes[name]
		switch online := now.nodes[name]; {
		case !known:
			out = append(out, events.Event{Kind: "node-joined", Node: name})
		case online && !before:
			out = append(out, events.Event{Kind: "node-online", Node: name})
		case !online && before:
			out = append(out, events.Event{Kind: "node-offline", Node: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.nodes)) {
		if _, is := now.nodes[name]; !is {
			out = append(out, events.Event{Kind: "node-removed", Node: name})
		}
	}
	for _, f := range sortedFolders(now.folders) {
		before, known := was.folders[f]
		if !known {
			out = append(out, events.Event{Kind: "folder-added", Folder: now.folders[f].name})
			before = observedFolder{head: was.heads[f]} // its first commits may have come already
		}
		list, err := o.folderChanges(f, before, now.folders[f])
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	for _, f := range sortedFolders(was.folders) {
		if _, is := now.folders[f]; !is {
			out = append(out, events.Event{Kind: "folder-removed", Folder: was.folders[f].name})
		}
	}
	return out, nil
}

// folderChanges are the events of one folder.
func (o *observer) folderChanges(f id.Folder, was, now observedFolder) (out []events.Event, err error) {
	out, err = o.commits(f, was, now)
	if err != nil {
		return nil, err
	}
	add := func(e events.Event) {
		e.Folder = now.name
		out = append(out, e)
	}
	if now.onDisk != was.onDisk {
		add(events.Event{Kind: "on-disk", Revision: uint64(now.onDisk)})
	}
	if now.state != was.state {
		add(events.Event{Kind: "state", Detail: now.state + map[bool]string{true: ": " + now.why}[now.why != ""]})
	}
	if now.conflicts != was.conflicts {
		add(events.Event{Kind: "conflicts", Count: now.conflicts})
	}
	if now.held != was.held {
		add(events.Event{Kind: "held", Count: now.held})
	}
	told := 0
	for _, p := range slices.Sorted(maps.Keys(now.blocked)) {
		if was.blocked[p] != now.blocked[p] && told < maxBlockedEvents {
			told++
			add(events.Event{Kind: "blocked", Path: string(p), Detail: now.blocked[p]})
		}
	}
	for _, p := range slices.Sorted(maps.Keys(was.blocked)) {
		if _, is := now.blocked[p]; !is && told < 2*maxBlockedEvents {
			told++
			add(events.Event{Kind: "unblocked", Path: string(p)})
		}
	}
	return out, nil
}

// commits are the events of the revisions after was, oldest first.
func (o *observer) commits(f id.Folder, was, now observedFolder) (out []events.Event, err error) {
	if now.head <= was.head {
		return nil, nil
	}
	oldest := was.head + 1
	if n := now.head - was.head; n > maxCommitEvents {
		oldest = now.head - maxCommitEvents + 1
	}
	v := o.n.machine.View()
	defer func() { err = errors.Join(err, v.Close()) }()
	err = v.Commits(f, now.head, oldest, func(c meta.Commit) error {
		out = append(out, events.Event{
			Kind: "commit", Folder: now.name, Revision: uint64(c.Revision), Node: o.n.members.name(c.Node), Count: int(c.Changes), Detail: c.Origin.String(),
		})
		return nil
	})
	slices.Reverse(out)
	return out, err
}

func sortedFolders(m map[id.Folder]observedFolder) []id.Folder {
	return slices.SortedFunc(maps.Keys(m), func(a, b id.Folder) int {
		return cmp.Or(cmp.Compare(m[a].name, m[b].name), cmp.Compare(a.String(), b.String()))
	})
}

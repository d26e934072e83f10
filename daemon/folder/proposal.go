package folder

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/daemon/trace"
	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// commitBytes bounds what is proposed as one commit, by the changes' MaxSize: what a
// command may have, less room for its other fields.
const commitBytes = meta.MaxCommand - 64<<10

// commitLen is how many of the found paths, at least one, may go into one commit, if
// each is one change: half of the limit at most, for moves name two paths.
func (e *Engine) commitLen(all []*found) int {
	size := 0
	for i, fd := range all {
		size += meta.Change{Path: fd.path, Entry: fd.disk.Entry}.MaxSize()
		if i > 0 && (size > e.commitMax/2 || i >= meta.MaxChanges/2) {
			return i
		}
	}
	return len(all)
}

// proposal is a commit being built: changes, and the rows that go with them. One whose
// deletions are too many for one commit is sent in pieces: see flush.
type proposal struct {
	tx      txn
	rows    *local.Batch
	changes struct{ dirs, moves, deletes, puts []meta.Change }
	later   []latePut        // they come last, and with them their rows
	gone    []*found         // what may delete, decided after all else
	handled map[id.Path]bool // deleted by a move or with a subtree
	adopted bool
	message string // for history
	allowed bool   // deletions go though others are held

	size, n         int // of changes but puts: at most so many bytes, and how many
	putSize, putNum int // of later
}

// latePut is a put with the row that its commit records.
type latePut struct {
	change meta.Change
	row    local.Row
	old    *local.Row
}

func (p *proposal) count(c meta.Change) {
	p.size += c.MaxSize()
	p.n++
}

func (p *proposal) put(c meta.Change, r local.Row, old *local.Row) {
	p.later = append(p.later, latePut{c, r, old})
	p.putSize += c.MaxSize()
	p.putNum++
}

// tooLarge reports whether the commit cannot take so much more.
func (e *Engine) tooLarge(p *proposal, size, n int) bool {
	return p.n > 0 && (p.size+size > e.commitMax || p.n+n > meta.MaxChanges)
}

// list returns the changes in the order in which the state machine judges them:
// new directories (and those that took a file's place) before what is in them or moves into them, moves before the deletion of
// where they came from, deletions (deepest first) before what takes the place.
func (p *proposal) list() []meta.Change {
	return slices.Concat(p.changes.dirs, p.changes.moves, p.changes.deletes, p.changes.puts)
}

// proposeAll decides on the paths found, or the first n of them, and makes one commit
// of the changes, or several where there are too many for one.
func (e *Engine) proposeAll(f vfs.FS, all []*found) (n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proposeLocked(f, all, "")
}

// proposeLocked is proposeAll. A message, which history keeps, lets deletions go that
// are held. mu is held.
func (e *Engine) proposeLocked(f vfs.FS, all []*found, message string) (n int, err error) {
	s, err := e.snap()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	p := &proposal{handled: make(map[id.Path]bool), message: message, allowed: message != ""}
	e.begin(p)
	defer func() {
		p.tx.Abort()
		if p.rows != nil {
			p.rows.Discard()
		}
	}()
	if all, err = e.proposeMoves(s, f, p, all[:e.commitLen(all)]); err != nil {
		return 0, err
	}
	near := vfs.NearOf(f)
	defer near.Close()
	for _, fd := range all {
		if p.handled[fd.path] {
			continue
		}
		if err := e.proposeOne(s, f, near, p, fd); err != nil {
			return 0, err
		}
	}
	for _, fd := range p.gone {
		if p.handled[fd.path] {
			continue
		}
		if err := e.proposeRemoval(s, f, p, fd); err != nil {
			return 0, err
		}
	}
	return len(all), e.finish(p, all)
}

// begin takes the lane's next place for the proposal.
func (e *Engine) begin(p *proposal) { p.tx, p.rows = e.o.Lane.Begin(), e.o.Local.NewBatch() }

// proposeMoves recognises renamed files, before anything else: that takes paths off the
// deletions. It returns the paths that the proposal is to have: fewer if the moves alone
// fill their half of a commit. mu is held.
func (e *Engine) proposeMoves(s *snap, f vfs.FS, p *proposal, all []*found) ([]*found, error) {
	if e.o.Mode == ModeReceive {
		return all, nil
	}
	for i, fd := range all {
		if err := e.proposeFileMove(s, f, p, fd); err != nil {
			return nil, err
		}
		if p.size > e.commitMax/2 {
			return all[:i+1], nil
		}
	}
	return all, nil
}

// flush sends what the proposal has but puts, and goes on with another commit. The order
// of list holds across the pieces, so what a kill leaves is in order too: what was not
// queued is still recorded, and found missing again. mu is held.
func (e *Engine) flush(p *proposal) error {
	if err := e.send(p, nil); err != nil {
		return err
	}
	if err := failpoint.Hit("folder/piece"); err != nil {
		return err
	}
	p.changes.dirs, p.changes.moves, p.changes.deletes = nil, nil, nil
	p.size, p.n = 0, 0
	e.begin(p)
	return nil
}

// proposeDelete adds a deletion to the proposal, in a further commit where this one is full.
// mu is held.
func (e *Engine) proposeDelete(p *proposal, c meta.Change) error {
	if e.tooLarge(p, c.MaxSize(), 1) {
		if err := e.flush(p); err != nil {
			return err
		}
	}
	p.changes.deletes = append(p.changes.deletes, c)
	p.count(c)
	return nil
}

// finish sends the proposal, or its last piece. mu is held.
func (e *Engine) finish(p *proposal, all []*found) error {
	if e.tooLarge(p, p.putSize, p.putNum) {
		if err := e.flush(p); err != nil {
			return err
		}
	}
	for _, l := range p.later {
		l.row.Base = meta.Base{Own: p.tx.Sequence()}
		p.changes.puts = append(p.changes.puts, l.change)
		e.putRow(p.rows, l.change.Path, l.row, l.old)
	}
	return e.send(p, all)
}

// send makes the commit durable in the queue, with its rows, and hands it on.
// mu is held.
func (e *Engine) send(p *proposal, all []*found) error {
	changes := p.list()
	if len(changes) == 0 {
		rows := p.rows
		p.rows = nil
		if rows.Empty() {
			rows.Discard()
			return nil
		}
		e.lookAgain()
		return rows.Commit(false)
	}
	if e.o.Mode == ModeReceive {
		return fmt.Errorf("propose %d changes: this node only receives", len(changes)) // never: all keep to it
	}
	cmd := meta.CommitCmd{
		Folder: e.o.ID, Origin: meta.OriginEdit, Message: p.message, Changes: changes,
		Acked: e.acked(p.tx.Sequence()), Seen: e.sure.Base(),
	}
	rows := p.rows
	p.rows = nil
	now := time.Now()
	if err := p.tx.Commit(rows, cmd); err != nil {
		return fmt.Errorf("queue %d changes: %w", len(changes), err)
	}
	e.underWay(p.tx.Sequence(), flight{hash: p.tx.Hash(), changes: touches(changes), at: now})
	for _, fd := range all {
		e.trace.MarkAt(fd.path, trace.Queued, now)
	}
	e.st.touch()
	return nil
}

// acked is the newest own sequence whose outcome nobody here needs any more: all
// before the oldest that is under way or that a row's base names. mu is held.
func (e *Engine) acked(next id.Sequence) id.Sequence {
	low := next
	for seq := range e.flight {
		low = min(low, seq)
	}
	for seq := range e.awaited {
		low = min(low, seq)
	}
	l := e.st.oldestLineage(func(p id.Path, seq id.Sequence) bool {
		r, ok, err := e.o.Local.Get(e.o.ID, p)
		return err != nil || ok && r.Base.Own == seq
	})
	if l != 0 {
		low = min(low, l)
	}
	return low - 1
}

// txn is a place in the lane: see propose.Tx.
type txn interface {
	Sequence() id.Sequence
	Hash() id.Digest
	Commit(b *local.Batch, cmd meta.Command) error
	Abort()
}

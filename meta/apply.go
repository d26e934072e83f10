package meta

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

// Reload reads the state anew, after the store was replaced, and removes what a
// crash left of a commit under way.
func (m *Machine) Reload() error {
	db, release := m.dbs.Acquire()
	defer release()
	d := reads{db}
	n, err := d.applied()
	if err != nil {
		return fmt.Errorf("reload the state machine: %w", err)
	}
	folders, err := d.folders()
	if err != nil {
		return fmt.Errorf("reload the state machine: %w", err)
	}
	for _, f := range folders {
		if err := dropUnfinished(db, f.ID); err != nil {
			return fmt.Errorf("reload the state machine: %w", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.broken = n, nil
	m.results = [keptResults]result{}
	m.notify()
	return nil
}

// dropUnfinished removes the effects beyond a folder's head.
func dropUnfinished(db *kv.DB, f id.Folder) error {
	d := reads{db}
	s, err := d.state(f)
	if err != nil {
		return err
	}
	b := db.NewBatch()
	prefix := folderKey(keyRevision, f)
	err = d.each(revisionPrefix(f, id.Revision(s.Revision)+1), kv.PrefixEnd(prefix), func(k, _ []byte) error {
		r := id.Revision(binary.BigEndian.Uint64(k[len(prefix):]))
		eraseVersion(b, f, id.Path(k[len(prefix)+8:]), r)
		if b.Len() < maxBatch {
			return nil
		}
		full := b
		b = db.NewBatch()
		return full.Commit(false)
	})
	if err != nil {
		b.Discard()
		return err
	}
	return b.Commit(false)
}

// ApplyBatch applies log entries in their order, with one write to the store
// where they are small. Errors are as Apply's; the machine is broken then, and
// what it has applied is a prefix of the entries.
func (m *Machine) ApplyBatch(entries []IndexedEntry) error {
	m.mu.Lock()
	broken, applied := m.broken, m.applied
	m.mu.Unlock()
	if broken != nil {
		return fmt.Errorf("state machine is broken: %w", broken)
	}
	db, release := m.dbs.Acquire()
	defer release()
	t := newTxn(db, m.limit)
	var results []result
	err := func() error {
		for _, e := range entries {
			if e.Index <= applied {
				continue
			}
			if len(e.Data) != 0 {
				o, done, err := t.entry(e.Data)
				if err != nil {
					return fmt.Errorf("apply log entry %d: %w", e.Index, err)
				}
				if done {
					results = append(results, result{e.Index, o})
				}
			}
			t.endEntry(e.Index)
			applied = e.Index
			if t.batch.Len() >= t.limit {
				if err := t.flush(); err != nil {
					return fmt.Errorf("apply log entry %d: %w", e.Index, err)
				}
			}
		}
		return t.flush()
	}()
	err = errors.Join(err, t.close())
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.broken = err
		return err
	}
	changed := applied != m.applied
	m.applied = applied
	for _, r := range results {
		m.results[r.index%keptResults] = r
	}
	if changed {
		m.notify()
	}
	return nil
}

// entry applies one log entry. done is set when it ended a proposal.
func (t *txn) entry(data []byte) (o Outcome, done bool, err error) {
	e, err := decodeLogEntry(data)
	if err != nil {
		return o, false, err
	}
	refuse := func(reason string) (Outcome, bool, error) {
		return Outcome{Sequence: e.env.Sequence, Entry: e.hash, Kind: Refused, Reason: reason}, true, nil
	}
	if e.env.Sequence == 0 {
		return t.unsequenced(e)
	}
	if _, ok, err := (reads{t}).node(e.env.Node); err != nil {
		return o, false, err
	} else if !ok {
		return refuse(ReasonNotMember)
	}
	s, err := reads{t}.session(e.env.Node)
	if err != nil {
		return o, false, err
	}
	if s.IsZero() || s != e.env.Session {
		return refuse(ReasonFenced)
	}
	lane, err := reads{t}.lane(e.env.Node, e.env.Lane)
	if err != nil {
		return o, false, err
	}
	switch seq := uint64(e.env.Sequence); {
	case seq <= lane.Last:
		return t.again(e, lane)
	case seq > lane.Last+1:
		return refuse(ReasonGap)
	}
	body, whole, err := t.assemble(e, &lane)
	if err != nil || !whole {
		return o, false, err
	}
	if id.Sum(body) != e.hash {
		return o, false, fmt.Errorf("%w: proposal's hash", ErrDamaged)
	}
	c, err := decodeBody(body)
	if err != nil {
		return o, false, fmt.Errorf("this version of lockstep cannot read a committed command; if other nodes run a newer one, upgrade this node: %w", err)
	}
	out, err := t.command(e, c, &lane)
	if err != nil {
		return o, false, err
	}
	out.Sequence, out.Entry = e.env.Sequence, e.hash
	lane.Last = uint64(e.env.Sequence)
	t.set(laneKey(keyLane, e.env.Node, e.env.Lane), packRow(&lane))
	t.set(outcomeKey(e.env.Node, e.env.Lane, e.env.Sequence), packRow(out.row()))
	return out.Outcome, true, nil
}

// Reasons of refusals that programs act upon. A Refused outcome's Reason is one
// of these, or a text for people.
const (
	// ReasonNotMember: the node is no member of the cluster.
	ReasonNotMember = "the node is not a member"
	// ReasonFenced: another session of the node has started since.
	ReasonFenced = "another session of this node has started"
	// ReasonGap: an earlier sequence of the lane is missing.
	ReasonGap = "an earlier proposal is missing"
	// ReasonReused: the sequence was used for another proposal.
	ReasonReused = "the sequence was used for another proposal"
	// ReasonForgotten: the outcome was acknowledged and is not kept.
	ReasonForgotten = "the outcome was acknowledged and is not kept"
	// ReasonUnknownInvite, ReasonUsedInvite and ReasonExpiredInvite refuse an admit.
	ReasonUnknownInvite = "unknown invite"
	ReasonUsedInvite    = "the invite was used"
	ReasonExpiredInvite = "the invite has expired"
	// ReasonUnsupported: the format is reserved, no version does it yet.
	ReasonUnsupported = "not supported at this feature level"
)

// again answers a sequence that has an outcome.
func (t *txn) again(e logEntry, lane rowLane) (Outcome, bool, error) {
	refused := Outcome{Sequence: e.env.Sequence, Entry: e.hash, Kind: Refused}
	if uint64(e.env.Sequence) < lane.First {
		refused.Reason = ReasonForgotten
		return refused, true, nil
	}
	o, ok, err := reads{t}.outcome(e.env.Node, e.env.Lane, e.env.Sequence)
	switch {
	case err != nil:
		return refused, false, err
	case !ok:
		refused.Reason = ReasonForgotten
		return refused, true, nil
	case o.Entry != e.hash:
		refused.Reason = ReasonReused
		return refused, true, nil
	}
	return o.Outcome, true, nil
}

// assemble keeps a part until all are there and then returns the body. Parts come
// in order; the first one of a body or session starts anew, one that is there
// already is left out.
func (t *txn) assemble(e logEntry, lane *rowLane) (body []byte, whole bool, err error) {
	if e.parts == 1 {
		t.dropParts(e, lane)
		return e.data, true, nil
	}
	same := lane.PartSeq == uint64(e.env.Sequence) && lane.PartCount == e.parts && string(lane.PartHash) == string(e.hash[:]) &&
		string(lane.PartSession) == string(e.env.Session[:])
	switch {
	case e.part == 0 && !same:
		t.dropParts(e, lane)
		lane.PartSeq, lane.PartHash, lane.PartCount = uint64(e.env.Sequence), putFixed(e.hash), e.parts
		lane.PartSession = putFixed(e.env.Session)
	case !same || e.part != lane.PartNext:
		return nil, false, nil // there already, or of a proposal that will be sent again
	}
	if e.part < e.parts-1 {
		t.set(partKey(e.env.Node, e.env.Lane, e.part), e.data)
		lane.PartNext = e.part + 1
		t.set(laneKey(keyLane, e.env.Node, e.env.Lane), packRow(lane))
		return nil, false, nil
	}
	for i := range e.parts - 1 {
		p, ok, err := t.Get(partKey(e.env.Node, e.env.Lane, i))
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return nil, false, fmt.Errorf("%w: part %d of a proposal is missing", ErrDamaged, i)
		}
		body = append(body, p...)
	}
	t.dropParts(e, lane)
	return append(body, e.data...), true, nil
}

// dropParts forgets the parts under way in a lane.
func (t *txn) dropParts(e logEntry, lane *rowLane) {
	for i := range lane.PartNext {
		t.delete(partKey(e.env.Node, e.env.Lane, i))
	}
	lane.PartSeq, lane.PartHash, lane.PartNext, lane.PartCount, lane.PartSession = 0, nil, 0, 0, nil
}

package materialize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// maxBatch is the number of steps after which names are made durable and results
	// recorded: what a crash leaves to be looked at again is about this much.
	maxBatch = 4000
	// groupDirs is the number of directories from which one syncfs costs less than an
	// fsync a directory, each of which makes the disk write its cache.
	groupDirs = 24
)

var (
	// ErrNotConfirmed is a Raced result's error where confirm said no.
	ErrNotConfirmed = errors.New("no longer wanted")
	// ErrChanged is a Raced result's error where the disk was not as expected.
	ErrChanged = errors.New("changed on disk meanwhile")
)

// commit is one call of Commit.
type commit struct {
	x   *Executor
	fs  vfs.FS
	s   *Staged
	res []Result // one an item; State 0 is "not decided yet"
	// here is what a step of the item left at its path, for its next step.
	here []vfs.Stat
	// last is the step after which the item's result is final.
	last []int
	item map[id.Path]int
	// lifted is where an item's content is between opLift and opPut.
	lifted map[int]id.Path
	goes   map[id.Path]id.Path // where directories are moved; see places

	// Of the batch under way:
	batch   string
	touched map[id.Path]bool
	opened  map[id.Path]opened // directories made writable for a while
	records []id.Path          // its files of intents
	kept    []*keptEntry
	attrs   int   // files whose attributes were set in place
	fatal   error // something of the user's is where only Recover will find it
}

// Commit moves s into place, under the caller's lock. confirm (nil: always yes)
// is asked for each item first. The steps are done in bounded batches; after
// each one its names are made durable and record (nil: not wanted) is called
// with its results, Done or not. Where ctx ends, the rest has State Failed and is
// not recorded.
//
// It returns all results in the order of the items. An error means that the
// folder must stop and be opened again with Recover: a sync or record failed.
// Then only what record accepted counts.
func (x *Executor) Commit(ctx context.Context, s *Staged, confirm func(*Item) bool, record func([]Result) error) (_ []Result, err error) {
	fsys, err := x.open()
	if err != nil {
		return nil, err
	}
	c := &commit{
		x: x, fs: fsys, s: s, lifted: map[int]id.Path{}, item: map[id.Path]int{},
		res: make([]Result, len(s.at)), here: make([]vfs.Stat, len(s.at)),
	}
	defer func() {
		if err == nil {
			x.discard(fsys, s) // after an error Recover does, which needs what is there
		}
		err = errors.Join(err, fsys.Close())
	}()
	c.start(confirm)
	c.assemble()
	c.setLast()
	from := 0
	for _, to := range s.plan.batches(maxBatch) {
		if err = ctx.Err(); err != nil {
			c.rest(err)
			break
		}
		if err := c.runBatch(from, to, record); err != nil {
			c.rest(err)
			return c.res, fmt.Errorf("materialize: %w", err)
		}
		from = to
	}
	if x.opts.Ended != nil {
		if err := x.opts.Ended(c.res); err != nil {
			return c.res, fmt.Errorf("materialize: %w", err)
		}
	}
	return c.res, nil
}

// start decides what cannot be done at all.
func (c *commit) start(confirm func(*Item) bool) {
	p := c.s.plan
	for i := range c.res {
		r := &c.res[i]
		r.Item = p.items[i]
		c.item[r.Path] = i
		switch err := c.s.at[i].err; {
		case errors.Is(err, ErrMissing):
			c.set(i, Missing, err)
		case err != nil:
			c.set(i, Failed, fmt.Errorf("stage %q: %w", r.Path, err))
		case confirm != nil && !confirm(&p.items[i]):
			c.set(i, Raced, ErrNotConfirmed)
		}
	}
	for i := range c.res { // a move concerns all that it brings along, and its old paths
		if l := p.roles[i].leader; c.res[i].State != 0 && l != i && p.roles[l].stage == meta.Absent {
			c.set(l, Raced, c.res[i].Err)
		}
	}
	for i := range c.res { // what is not to be replaced stays, so nobody moves it away
		if j, ok := p.byPath[c.res[i].MoveFrom]; ok && c.res[i].MoveFrom != "" && c.res[j].State != 0 && p.takesFrom(i) {
			c.set(i, Raced, c.res[j].Err)
		}
	}
}

// set decides item i, unless it is decided.
func (c *commit) set(i int, s State, err error) {
	if c.res[i].State == 0 {
		c.res[i].State, c.res[i].Err = s, err
	}
}

// assemble completes the subtrees that are staged whole: big files go to their
// places in them, what is not to be put in place is taken out. Both are made
// durable before the subtree moves: a power cut must neither bring a half-written
// file back in it nor take a big one away.
func (c *commit) assemble() {
	p := c.s.plan
	dead := map[id.Path]bool{}
	changed := map[id.Path]int{} // directories in stages, and their leaders
	defer func() { c.syncStages(changed) }()
	for _, i := range pathOrder(p.items) {
		l, st := p.roles[i].leader, &c.s.at[i]
		if p.roles[i].stage == meta.Absent || l == i || c.res[l].State != 0 {
			continue
		}
		if dead[p.items[i].Path.Dir()] {
			c.set(i, Raced, ErrChanged)
		}
		if c.res[i].State == 0 && st.path != st.tree {
			err := c.inStage(st.tree.Dir(), func() error { return c.fs.Rename(st.path, st.tree, vfs.NoReplace) })
			if err == nil {
				changed[st.tree.Dir()] = l
				st.stat, err = c.fs.Lstat(st.tree) // its ctime is another now
			}
			if err != nil {
				c.set(i, Failed, err)
			}
		}
		if c.res[i].State != 0 {
			dead[p.items[i].Path] = true
			changed[st.tree.Dir()] = l
			if err := c.inStage(st.tree.Dir(), func() error { return removeAll(c.fs, st.tree) }); err != nil {
				c.set(l, Failed, err)
			}
		}
	}
}

// syncStages makes the names in directories of stages durable. A subtree of which
// that fails is not put in place.
func (c *commit) syncStages(dirs map[id.Path]int) {
	if len(dirs) >= groupSync {
		if err := c.fs.SyncAll(); err != nil {
			for _, l := range dirs {
				c.set(l, Failed, err)
			}
		}
		return
	}
	for d, l := range dirs {
		if err := c.fs.SyncDir(d); err != nil && classify(err) != Raced { // taken out itself: its parent is synced
			c.set(l, Failed, err)
		}
	}
}

// inStage runs f, which changes dir, in a stage that may have its final,
// read-only mode.
func (c *commit) inStage(dir id.Path, f func() error) error {
	st, err := c.fs.Lstat(dir)
	if err != nil || st.Kind != vfs.Dir || writable(st.Mode) {
		return errors.Join(err, f())
	}
	if err := c.fs.Chmod(dir, st.Mode|0o700); err != nil {
		return err
	}
	return errors.Join(f(), c.fs.Chmod(dir, st.Mode))
}

func (c *commit) setLast() {
	p := c.s.plan
	c.last = make([]int, len(p.items))
	main := make([]int, len(p.items))
	for i := range c.last {
		c.last[i], main[i] = -1, -1
	}
	for n, s := range p.steps {
		c.last[s.item] = n
		if s.op == opPut || s.op == opMove {
			main[s.item] = n
		}
	}
	for i, r := range p.roles {
		c.last[i] = max(c.last[i], main[r.leader])
	}
}

// rest fails what was not reached.
func (c *commit) rest(err error) {
	for i := range c.res {
		c.set(i, Failed, err)
	}
}

// runBatch does the steps from..to-1, all or none of which are covered by durable
// intents when the first of them is done.
func (c *commit) runBatch(from, to int, record func([]Result) error) error {
	c.batch = randomName()
	c.touched, c.opened, c.records, c.kept, c.attrs = map[id.Path]bool{}, map[id.Path]opened{}, nil, nil, 0
	list, needed := c.intents(from, to)
	if needed {
		p := tmpDir + "/" + intentsPrefix + id.Path(c.batch)
		if err := writeIntents(c.fs, p, list); isNoSpace(err) {
			// Nothing was done. A full disk is no reason to stop the folder.
			for _, s := range c.s.plan.steps[from:to] {
				c.set(s.item, Failed, err)
			}
			c.results(from, to)
			return nil
		} else if err != nil {
			return err
		}
		c.records = append(c.records, p)
	}
	if err := failpoint.Hit("materialize/intents-durable"); err != nil {
		return err
	}
	for n := from; n < to; n++ {
		if s := &c.s.plan.steps[n]; c.res[s.item].State == 0 || c.res[s.item].State == Done {
			c.do(s, &list[n-from])
		}
	}
	c.closeOpened()
	if c.fatal != nil {
		return c.fatal
	}
	if err := failpoint.Hit("materialize/before-sync"); err != nil {
		return err
	}
	if err := c.sync(); err != nil {
		return err
	}
	if err := failpoint.Hit("materialize/before-record"); err != nil {
		return err
	}
	if out := c.results(from, to); record != nil && len(out) > 0 {
		if err := record(out); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if err := failpoint.Hit("materialize/recorded"); err != nil {
		return err
	}
	return c.promote()
}

// intents lists what the steps are about to do. They are needed unless all steps
// only create what was not there, or remove empty directories: then a crash
// leaves either nothing or the whole, and there is nothing to finish or undo.
func (c *commit) intents(from, to int) (list []intent, needed bool) {
	p := c.s.plan
	for n := from; n < to; n++ {
		s := &p.steps[n]
		it := &p.items[s.item]
		if st := c.res[s.item].State; st != 0 && st != Done {
			// It is not going to be done: its stage may be half written, and must mean
			// nothing to Recover. The place in the list stays, for it numbers the steps.
			list = append(list, intent{op: opRmdir, path: s.path})
			continue
		}
		in := intent{op: s.op, lifted: s.lifted, path: s.path, from: s.from, expect: s.expect, was: it.Was, wasVer: it.WasVersion}
		own := keptDir + "/" + id.Path(fmt.Sprintf("%s-%d", c.batch, n-from))
		switch s.op {
		case opRemove:
			in.kept = own
		case opLift:
			in.stage, in.was, in.wasVer = own, it.Want, it.Version
			c.lifted[s.item] = own
		case opPut:
			in.stage, in.new, in.kept = c.s.at[s.item].tree, c.s.at[s.item].stat, own
			if s.lifted {
				in.stage, in.new = c.lifted[s.item], it.ExpectFrom
			}
			if c.s.at[s.item].path != c.s.at[s.item].tree {
				in.stage = c.s.at[s.item].path
			}
		case opAttr:
			in.new = vfs.Stat{Kind: vfs.File, Mode: it.Want.Mode, MTime: it.Want.MTime}
		case opDirMode:
			in.new = vfs.Stat{Kind: vfs.Dir, Mode: it.Want.Mode}
			if st := c.s.at[s.item].stat; p.roles[s.item].lateMode {
				in.expect = st
			}
		}
		list = append(list, in)
		if s.op != opRmdir && (s.op != opPut || s.expect.Kind != vfs.Absent || s.lifted) &&
			(s.op != opDirMode || in.expect.Mode != in.new.Mode) {
			needed = true
		}
	}
	return list, needed
}

// sync makes the batch's names durable, what was displaced first.
func (c *commit) sync() error {
	if len(c.kept) > 0 {
		c.touched[keptDir] = true
	}
	if len(c.touched) >= groupDirs || c.attrs >= groupSync {
		if err := c.fs.SyncAll(); err != nil {
			return &syncError{err}
		}
		return nil
	}
	dirs := make([]id.Path, 0, len(c.touched))
	for d := range c.touched {
		dirs = append(dirs, d)
	}
	sort.Slice(dirs, func(a, b int) bool {
		if k := dirs[a] == keptDir; k != (dirs[b] == keptDir) {
			return k
		}
		return dirs[a] < dirs[b]
	})
	for _, d := range dirs {
		if err := c.fs.SyncDir(d); err != nil && classify(err) != Raced { // gone meanwhile: nothing to sync
			return &syncError{err}
		}
	}
	return nil
}

// results returns what became final with the steps from..to-1.
func (c *commit) results(from, to int) []Result {
	var out []Result
	for i := range c.res {
		if c.last[i] < from || c.last[i] >= to {
			continue
		}
		c.follow(i)
		out = append(out, c.res[i])
	}
	return out
}

// follow completes the result of an item that had no step of its own.
func (c *commit) follow(i int) {
	r, role := &c.res[i], c.s.plan.roles[i]
	if l := &c.res[role.leader]; role.leader != i && l.State != Done {
		if r.State == 0 || r.State == Done {
			r.State, r.Err, r.Stat = l.State, l.Err, vfs.Stat{}
		}
		return
	}
	if r.State != 0 {
		return
	}
	r.State = Done
	switch {
	case r.Want.Kind == meta.Absent:
	case role.carried:
		r.Stat = r.ExpectFrom
	default:
		r.Stat = c.s.at[i].stat
	}
}

// promote ends the batch: its intents are history, or, where something was
// displaced, the description of what lies in kept.
func (c *commit) promote() error {
	for n, p := range c.records {
		if n == 0 && len(c.kept) > 0 {
			if err := c.fs.Rename(p, batchPath(c.batch), vfs.NoReplace); err != nil {
				return fmt.Errorf("keep intents: %w", err)
			}
			continue
		}
		if err := c.fs.Unlink(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove intents: %w", err)
		}
	}
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	for _, k := range c.kept {
		c.x.kept[k.File] = k
	}
	return nil
}

func batchPath(batch string) id.Path { return keptDir + "/" + id.Path(batch) + batchSuffix }

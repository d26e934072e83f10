package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/peers"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// Why implements control.Service.
func (s service) Why(ctx context.Context, r control.WhyRequest) (out control.WhyResult, err error) {
	rec, e, p, err := s.target(r.Target)
	if err != nil {
		return out, err
	}
	if e == nil {
		return out, control.Errorf(control.CodeFailed, "folder %q is not on this node", rec.Name).WithHint("add it with `lockstep folder add PATH --name %s`", rec.Name)
	}
	s.settle(ctx)
	v := s.n.machine.View()
	defer v.Close()
	c := s.cluster()
	st, err := s.folder(v, rec.ID, e, c.HasQuorum)
	if err != nil {
		return out, err
	}
	out.Folder, out.State, out.Summary = rec.Name, st.State, control.Summarize(st, c, time.Now())
	if st.State == control.StateHalted || st.State == control.StatePaused {
		out.Path, out.PathB64 = control.EncodePath(string(p))
		out.Step, out.Reason = "blocked", "the folder is "+out.Summary
		return out, nil
	}
	x, below, n, err := e.Why(p)
	if err != nil {
		return out, err
	}
	if out.WhyPath, err = s.explained(v, rec, x); err != nil {
		return out, err
	}
	out.Waiting = n
	for _, y := range below {
		w, err := s.explained(v, rec, y)
		if err != nil {
			return out, err
		}
		out.Below = append(out.Below, w)
	}
	for _, step := range e.Trace(p) {
		out.Steps = append(out.Steps, control.Step{Name: step.Name, Time: step.Time})
	}
	return out, nil
}

// explained puts an explanation into the words of the control API.
func (s service) explained(v *meta.View, rec meta.Folder, x folder.Explanation) (w control.WhyPath, err error) {
	w.Path, w.PathB64 = control.EncodePath(string(x.Path))
	w.Step, w.Reason = string(x.Step), strings.ReplaceAll(x.Reason, " "+folder.FolderName+"`", " "+rec.Name+"`")
	if !x.Since.IsZero() {
		w.Since = &x.Since
	}
	if x.Head.Revision != 0 {
		w.Kind, w.Revision = x.Head.Entry.Kind.String(), uint64(x.Head.Revision)
		c, ok, err := v.Commit(rec.ID, x.Head.Revision)
		if err != nil {
			return w, err
		}
		if ok {
			w.Node = s.n.members.name(c.Node)
		}
	}
	if x.Step == folder.Queued {
		if c := s.cluster(); !c.HasQuorum {
			w.Reason = control.Lacking(c, time.Now())
		}
	}
	w.DoneBytes, w.SizeBytes, w.Rate = x.Work.Done, x.Work.Size, x.Work.Rate
	if x.Step == folder.Receiving && x.Head.Entry.Kind != meta.Absent {
		w.Sources = s.sources(rec.ID)
	}
	if x.Step == folder.Missing {
		w.Holders = s.holders(rec.ID, x.Head.Revision)
	}
	return w, nil
}

// holders lists the other members whose disk held the revision when they were last
// heard, and those of which nothing is known.
func (s service) holders(f id.Folder, r id.Revision) (out []control.WhyHolder) {
	for _, m := range s.n.members.records() {
		if m.ID == s.n.self {
			continue
		}
		if h, heard := s.n.peers.Last(m.ID); heard {
			i := slices.IndexFunc(h.Folders, func(x peers.FolderState) bool { return x.Folder == f })
			if i < 0 || h.Folders[i].Applied < r {
				continue
			}
		}
		w := control.WhyHolder{Name: m.Name, Online: s.n.peers.Online(m.ID)}
		if seen := s.n.peers.LastSeen(m.ID); !seen.IsZero() {
			w.LastSeen = &seen
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b control.WhyHolder) int { return strings.Compare(a.Name, b.Name) })
	return out
}

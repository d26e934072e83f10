package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	conf "github.com/lockstep-sync/lockstep/daemon/config"
	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/doctor"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// heardLately is how long ago a heartbeat may be that shows that its sender can
	// reach this node: some of them may be lost.
	heardLately = 10 * time.Second
	// maxClashes bounds what the doctor lists of a folder's names.
	maxClashes = 100
)

// Doctor implements control.Service.
func (s service) Doctor(ctx context.Context, _ control.DoctorRequest) (control.DoctorReport, error) {
	n := s.n
	_, settings := conf.Load(string(n.home)) // as it is now: it is read at the next start
	f := doctor.Facts{
		OS: runtime.GOOS, Running: true, Limits: doctor.SystemLimits(),
		Home: doctor.LookAtHome(string(n.home), false, settings),
		Node: n.ownFacts(),
	}
	s.settle(ctx)
	for x, e := range n.folders.all() {
		fact, err := s.folderFacts(ctx, x, e)
		if err != nil {
			return control.DoctorReport{}, err
		}
		f.Folders = append(f.Folders, fact)
	}
	slices.SortFunc(f.Folders, func(a, b doctor.Folder) int { return strings.Compare(a.Name, b.Name) })
	f.Members = n.memberFacts(ctx)
	if err := ctx.Err(); err != nil {
		return control.DoctorReport{}, fmt.Errorf("look at the other nodes: %w", err)
	}
	return doctor.Run(f), nil
}

// DoctorOffline checks what can be checked of a home whose daemon does not run.
func DoctorOffline(dir string) control.DoctorReport {
	_, listen, advertise, err := Addresses(dir)
	_, settings := conf.Load(dir)
	f := doctor.Facts{OS: runtime.GOOS, Limits: doctor.SystemLimits(), Home: doctor.LookAtHome(dir, errors.Is(err, ErrNoNode), settings)}
	f.Node = doctor.Node{Version: Version, Listen: listen, Advertise: advertise, Own: ownTexts()}
	if f.Home.Err == nil && settings == nil && err != nil && !errors.Is(err, ErrNoNode) && !errors.Is(err, fs.ErrPermission) {
		f.Home.Err = err
	}
	return doctor.Run(f)
}

func ownTexts() (out []string) {
	for _, ip := range ownAddresses() {
		out = append(out, ip.String())
	}
	return out
}

func (n *Node) ownFacts() doctor.Node {
	rs := n.raft.Status()
	d := doctor.Node{
		Name: n.members.name(n.self), Version: Version, Listen: n.trans.ListenAddr().String(), Advertise: n.address(),
		Own: ownTexts(), Removed: n.removed(), Leader: n.members.name(rs.Leader), Quorum: rs.HasQuorum,
	}
	for _, x := range rs.Servers {
		if !x.Voter {
			continue
		}
		d.Voters++
		d.Voter = d.Voter || x.Node == n.self
		if x.Online {
			d.VotersOnline++
		} else {
			d.Offline = append(d.Offline, n.members.name(x.Node))
		}
	}
	slices.Sort(d.Offline)
	return d
}

func (s service) folderFacts(ctx context.Context, f id.Folder, e *folder.Engine) (doctor.Folder, error) {
	v := s.n.machine.View()
	defer v.Close()
	rec, ok, err := v.Folder(f)
	if err != nil {
		return doctor.Folder{}, err
	}
	if !ok {
		rec.Name = f.String()
	}
	in, err := e.Info()
	if err != nil {
		return doctor.Folder{}, err
	}
	tot, err := v.Totals(f)
	if err != nil {
		return doctor.Folder{}, err
	}
	w := e.Watching()
	d := doctor.Folder{
		Name: rec.Name, Root: in.Root, Dirs: tot.Dirs, Unwatched: w.Unwatched, Why: w.Why, PendingBytes: in.PendingBytes,
	}
	if in.Phase == folder.StateHalted && in.Err != nil {
		d.Halted = in.Err.Error()
	}
	if d.Err = folder.CheckRoot(in.Root, f); d.Err == nil { // nothing is written where the marker is not
		d.Disk = doctor.LookAtDisk(in.Root)
		d.FS, d.FSErr = doctor.Probe(in.Root)
	}
	d.Clashes, d.MoreClashes, err = doctor.Clashes(func(each func(string) error) error {
		return v.Tree(f, "", in.Head.Revision, func(x meta.Version) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return each(string(x.Path))
		})
	}, maxClashes)
	return d, err
}

// memberFacts looks at the other nodes, all at once.
func (n *Node) memberFacts(ctx context.Context) []doctor.Member {
	var out []doctor.Member
	for _, r := range n.members.records() {
		if r.ID != n.self {
			out = append(out, doctor.Member{Name: r.Name, Address: r.Address})
		}
	}
	slices.SortFunc(out, func(a, b doctor.Member) int { return strings.Compare(a.Name, b.Name) })
	byName := make(map[string]id.Node, len(out))
	for _, r := range n.members.records() {
		byName[r.Name] = r.ID
	}
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { n.memberFact(ctx, byName[out[i].Name], &out[i]) })
	}
	wg.Wait()
	return out
}

func (n *Node) memberFact(ctx context.Context, node id.Node, m *doctor.Member) {
	m.Dial = n.peers.Reach(ctx, node)
	if m.Dial == nil {
		m.Dialled, m.DialledWhy = n.peers.Reached(ctx, node)
		m.DialledKnown = m.DialledWhy == nil
	}
	m.Online, m.LastSeen = n.peers.Online(node), n.peers.LastSeen(node)
	m.Heard = time.Since(n.peers.Asked(node)) < heardLately
	if h, ok := n.peers.Last(node); ok {
		m.Version = h.Version
	}
	if c, ok := n.peers.Clock(node); ok && m.Online {
		m.ClockKnown, m.Ahead, m.Within = true, c.Ahead, c.Within
	}
}

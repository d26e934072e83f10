package control

import (
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	seen := now.Add(-2*time.Hour - 5*time.Minute)
	alone := ClusterStatus{Nodes: []ClusterMember{{Name: "b", Role: "voter", LastSeen: &seen}}}
	gone := alone
	gone.Removed = true
	if got := Summarize(FolderStatus{Name: "docs", State: StateOffline, LocalChanges: 12}, gone, now); got != "12 changes stay here: this node was removed from the cluster" {
		t.Errorf("on a removed node: %q", got)
	}
	if got := Tolerance(gone); got != "this node was removed from it" {
		t.Errorf("on a removed node: %q", got)
	}
	if got := Summarize(FolderStatus{Name: "docs", State: StateOffline, LocalChanges: 12}, alone, now); got != "12 changes here wait for b, last seen 2 h ago" {
		t.Errorf("one is missing: %s", got)
	}
	three := []FolderNode{{Name: "a", AppliedRevision: 42, Online: true}, {Name: "b", AppliedRevision: 42, Online: true}, {Name: "c", AppliedRevision: 42, Online: true}}
	cluster := ClusterStatus{HasQuorum: true, Nodes: []ClusterMember{
		{Name: "a", Role: "voter", Online: true}, {Name: "b", Role: "voter", LastSeen: &seen}, {Name: "c", Role: "voter"}, {Name: "d", Role: "learner"},
	}}
	idle := FolderStatus{Name: "docs", State: StateIdle, HeadRevision: 42, AppliedRevision: 42, Nodes: three}
	for want, change := range map[string]func(*FolderStatus){
		"in sync at revision 42 on 3 of 3 nodes":    func(f *FolderStatus) {},
		"in sync at revision 42 on this node alone": func(f *FolderStatus) { f.Nodes = three[:1] },
		"in sync at revision 42 on 1 of 3 nodes (b was last seen 2 h ago, c is behind)": func(f *FolderStatus) {
			f.Nodes = []FolderNode{{Name: "a", AppliedRevision: 42, Online: true}, {Name: "b", AppliedRevision: 40, Online: false}, {Name: "c", AppliedRevision: 40, Online: true}}
		},
		"in sync at revision 42 on 3 of 3 nodes; 1 path blocked; 2 conflicts open: `lockstep conflicts`": func(f *FolderStatus) { f.Blocked = make([]BlockedPath, 1); f.ConflictsOpen = 2 },
		"in sync at revision 42 on 1 of 2 nodes (c is behind for 2 h)": func(f *FolderStatus) {
			f.Nodes = []FolderNode{{Name: "a", AppliedRevision: 42, Online: true}, {Name: "c", AppliedRevision: 40, Online: true, BehindSince: &seen}}
		},
		"in sync at revision 42 on 2 of 4 nodes (paused on b, paused on c, d was not seen yet)": func(f *FolderStatus) {
			f.Nodes = []FolderNode{{Name: "a", AppliedRevision: 42, Online: true}, {Name: "b", AppliedRevision: 42, Online: true, Paused: true},
				{Name: "c", AppliedRevision: 40, Online: true, Paused: true}, {Name: "d", AppliedRevision: 40, Paused: true}}
		},
		"receiving 312 paths, 1.2 GiB, about 40 s, from b and c": func(f *FolderStatus) {
			f.PendingFiles, f.PendingBytes, f.ReceiveRate, f.Sources = 312, 1<<30*6/5, 1<<30*3/100, []string{"b", "c"}
		},
		"receiving 1 path, 1 change to look at":                                                                     func(f *FolderStatus) { f.PendingFiles, f.LocalChanges = 1, 1 },
		"looking at 12 changes on this disk":                                                                        func(f *FolderStatus) { f.LocalChanges = 12 },
		"bringing revision 42 to this disk":                                                                         func(f *FolderStatus) { f.AppliedRevision = 41 },
		"12 changes here wait for b (last seen 2 h ago) or c (not seen yet)":                                        func(f *FolderStatus) { f.State, f.LocalChanges = StateOffline, 12 },
		"commits wait for b (last seen 2 h ago) or c (not seen yet)":                                                func(f *FolderStatus) { f.State = StateOffline },
		"looking for changes on this disk":                                                                          func(f *FolderStatus) { f.State = StateScanning },
		"paused, 3 changes here; `lockstep folder resume docs` lets it go on":                                       func(f *FolderStatus) { f.State, f.LocalChanges = StatePaused, 3 },
		"halted: the root is missing":                                                                               func(f *FolderStatus) { f.State, f.Error, f.ConflictsOpen = StateHalted, "the root is missing\nmore", 1 },
		"in sync at revision 42 on 3 of 3 nodes; 812 deletions held: `lockstep folder allow docs` or `revert docs`": func(f *FolderStatus) { f.LocalChanges, f.Held = 812, []Held{{Deletes: 812}} },
		"in sync at revision 42 on 3 of 3 nodes; 2 changes made here and not committed, for this node only receives: `lockstep folder revert docs`": func(f *FolderStatus) {
			f.LocalChanges, f.Kept = 2, make([]BlockedPath, 2)
		},
		"all that was made here is committed (c is behind); 2 paths of others not brought, for this node only sends": func(f *FolderStatus) {
			f.NotBrought, f.Nodes = 2, []FolderNode{{Name: "a", AppliedRevision: 42, Online: true}, {Name: "c", AppliedRevision: 40, Online: true}}
		},
		"looking at 1 change on this disk; 1 path of others not brought, for this node only sends": func(f *FolderStatus) { f.LocalChanges, f.NotBrought = 1, 1 },
	} {
		f := idle
		change(&f)
		if got := Summarize(f, cluster, now); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// What only grows older is no change.
func TestSteady(t *testing.T) {
	t.Parallel()
	then, later := time.Unix(1000, 0), time.Unix(2000, 0)
	f := FolderStatus{State: StateSyncing, PendingFiles: 3, PendingBytes: 10, ReceiveRate: 5, Sources: []string{"b"}, Nodes: []FolderNode{{Name: "b", Online: true, BehindSince: &then}}}
	c := ClusterStatus{Nodes: []ClusterMember{{Name: "b", Role: "voter", LastSeen: &then}}}
	a := Steady(f, c)
	f.PendingBytes, f.ReceiveRate, f.Sources = 5, 6, nil
	c.Nodes[0].LastSeen, f.Nodes[0].BehindSince = &later, &later
	if b := Steady(f, c); a != b || f.Nodes[0].BehindSince == nil || c.Nodes[0].LastSeen == nil {
		t.Errorf("%q, then %q", a, b)
	}
	if f.PendingFiles = 2; Steady(f, c) == a {
		t.Errorf("fewer paths are no change of %q", a)
	}
}

func TestTolerance(t *testing.T) {
	t.Parallel()
	voter := func(name string, online bool) ClusterMember {
		return ClusterMember{Name: name, Role: "voter", Online: online}
	}
	learner := ClusterMember{Name: "z", Role: "learner", Online: true}
	for _, c := range []struct {
		nodes  []ClusterMember
		quorum bool
		want   string
	}{
		{nil, true, ""},
		{[]ClusterMember{voter("a", true), learner}, true, "commits need a"},
		{[]ClusterMember{voter("a", true), voter("b", true), voter("c", true)}, true, "any 1 of 3 voters may fail"},
		{[]ClusterMember{voter("a", true), voter("b", false), voter("c", true)}, true, "2 of 3 voters online: commits need a and c"},
		{[]ClusterMember{voter("a", true), voter("b", false), voter("c", false)}, false, "no quorum: changes are kept and committed when enough voters are back"},
	} {
		if got := Tolerance(ClusterStatus{Nodes: c.nodes, HasQuorum: c.quorum}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

package control

import (
	"strings"
	"testing"
	"time"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	old, recent := now.Add(-61*time.Minute), now.Add(-59*time.Minute)
	for want, change := range map[string]func(*Status){
		"":                               func(st *Status) { st.Folders[0].State = StateSyncing },
		"no quorum":                      func(st *Status) { st.Cluster.HasQuorum = false; st.Folders[0].State = StateOffline },
		"folder docs is halted: no disk": func(st *Status) { st.Folders[0].State, st.Folders[0].Error = StateHalted, "no disk\nmore" },
		"folder docs is paused":          func(st *Status) { st.Folders[0].State = StatePaused },
		"1 path blocked in docs":         func(st *Status) { st.Folders[0].Blocked = make([]BlockedPath, 1) },
		"812 deletions held in docs":     func(st *Status) { st.Folders[0].Held = []Held{{Deletes: 812}} },
		"1 change kept in docs":          func(st *Status) { st.Folders[0].Kept = make([]BlockedPath, 1) },
		"2 conflicts open in docs":       func(st *Status) { st.Folders[0].ConflictsOpen = 2 },
		"c is behind in docs for 1 h": func(st *Status) {
			st.Folders[0].Nodes = []FolderNode{{Name: "b", BehindSince: &recent}, {Name: "c", BehindSince: &old}, {Name: "d", BehindSince: &old, Paused: true}}
		},
		"no quorum; 1 path blocked in docs": func(st *Status) { st.Cluster.HasQuorum = false; st.Folders[0].Blocked = make([]BlockedPath, 1) },
	} {
		st := Status{Cluster: ClusterStatus{HasQuorum: true}, Folders: []FolderStatus{{Name: "docs", State: StateIdle}}}
		change(&st)
		if got := strings.Join(Problems(st, now), "; "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

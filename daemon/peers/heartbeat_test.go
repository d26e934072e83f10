package peers

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// TestHeartbeatsOfOtherVersions: what a version does not know is left out, in both
// directions.
func TestHeartbeatsOfOtherVersions(t *testing.T) {
	t.Parallel()
	from := id.Node{1}
	old := `{"node":"` + from.String() + `","version":"0.1.0","applied_index":7,"folders":[{"folder":"` + id.Folder{2}.String() +
		`","revision":3,"hash":"` + id.Digest{4}.String() + `","applied":3}]}`
	state := FolderState{Folder: id.Folder{2}, Revision: 3, Hash: id.Digest{4}, Applied: 3}
	want := Heartbeat{Node: from, Version: "0.1.0", AppliedIndex: 7, Folders: []FolderState{state}}
	got, err := decodeHeartbeat(from, []byte(old))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("an older version's: %+v, %v", got, err)
	}
	// With nothing blocked it is byte for byte what an older version sends.
	if data, err := json.Marshal(want); err != nil || string(data) != old {
		t.Errorf("encoded %s, %v", data, err)
	}
	want.Folders[0].Blocked = 5
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = decodeHeartbeat(from, data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	state.Paused = true
	if data, err = json.Marshal(state); err != nil || !strings.HasSuffix(string(data), `,"applied":3,"paused":true}`) {
		t.Errorf("a paused folder's: %s, %v", data, err)
	}
	newer := `{"version":"9","applied_index":1,"unknown":{"x":[1]},"folders":[{"folder":"` + id.Folder{2}.String() + `","applied":3,"unknown":true}]}`
	if got, err = decodeHeartbeat(from, []byte(newer)); err != nil || len(got.Folders) != 1 || got.Folders[0].Applied != 3 {
		t.Errorf("a newer version's: %+v, %v", got, err)
	}
}

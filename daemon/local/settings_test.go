package local

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/golden"
)

// What a home of today says of a folder's settings is read for good.
func TestGoldenSettings(t *testing.T) {
	t.Parallel()
	set := Settings{Mode: "receive", Paused: true, OnDisk: 1042}
	part := Settings{Only: "*,!/big"}
	held := Held{Since: time.Date(2026, 11, 25, 13, 0, 0, 5, time.UTC), Deletes: 812, Paths: 1000}
	var lines []string
	for _, v := range []any{Settings{}, set, held, part} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(raw))
	}
	old := golden.Lines(t, "settings.golden", lines)
	d, err := Open("local", Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s, err := d.Settings(goldenFolder); err != nil || s != (Settings{}) {
		t.Errorf("of a folder without settings: %+v, %v", s, err)
	}
	b := d.NewBatch()
	b.b.Set(folderKey(keySettings, goldenFolder), []byte(old[1]))
	b.b.Set(folderKey(keyHeld, goldenFolder), []byte(old[2]))
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Settings(goldenFolder); err != nil || s != set {
		t.Errorf("settings: %+v, %v", s, err)
	}
	if h, ok, err := d.Held(goldenFolder); err != nil || !ok || h != held {
		t.Errorf("held: %+v, %v, %v", h, ok, err)
	}
	b = d.NewBatch()
	b.b.Set(folderKey(keySettings, goldenFolder), []byte(old[3]))
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Settings(goldenFolder); err != nil || s != part {
		t.Errorf("settings of a part: %+v, %v", s, err)
	}
	b = d.NewBatch()
	b.DropFolder(goldenFolder)
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	s, err := d.Settings(goldenFolder)
	_, ok, err2 := d.Held(goldenFolder)
	if err != nil || err2 != nil || ok || s != (Settings{}) {
		t.Errorf("after the folder was dropped: %+v, held %v, %v, %v", s, ok, err, err2)
	}
}

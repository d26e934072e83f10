package local

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Settings are what the user of this node has set for one folder here. The zero
// value is what a folder begins with.
type Settings struct {
	// Mode is "" for both ways, else "send" or "receive".
	Mode string `json:"mode,omitempty"`
	// Only are the patterns of what of the folder is kept here; "" for everything.
	Only string `json:"only,omitempty"`
	// Paused: nothing is proposed and nothing brought. OnDisk is the revision that was
	// on the disk then.
	Paused bool        `json:"paused,omitempty"`
	OnDisk id.Revision `json:"on_disk,omitempty"`
}

// Settings returns what SetSettings kept of a folder.
func (d *DB) Settings(f id.Folder) (s Settings, err error) {
	v, ok, err := d.kv.Get(folderKey(keySettings, f))
	if err != nil || !ok {
		return s, err
	}
	if err := json.Unmarshal(v, &s); err != nil {
		return s, fmt.Errorf("decode the settings of a folder: %w", err)
	}
	return s, nil
}

// SetSettings keeps what the user has set for a folder.
func (b *Batch) SetSettings(f id.Folder, s Settings) {
	v, err := json.Marshal(s)
	if err != nil {
		panic("local: encode a folder's settings: " + err.Error()) // no field can fail
	}
	b.b.Set(folderKey(keySettings, f), v)
}

// Held says that deletions of a folder wait for the user.
type Held struct {
	Since time.Time `json:"since"`
	// Deletes were missing of so many Paths at that time.
	Deletes int `json:"deletes"`
	Paths   int `json:"paths"`
}

// Held returns what SetHeld kept of a folder.
func (d *DB) Held(f id.Folder) (h Held, ok bool, err error) {
	v, ok, err := d.kv.Get(folderKey(keyHeld, f))
	if err != nil || !ok {
		return h, false, err
	}
	if err := json.Unmarshal(v, &h); err != nil {
		return h, false, fmt.Errorf("decode the held deletions of a folder: %w", err)
	}
	return h, true, nil
}

// SetHeld keeps that deletions are held.
func (b *Batch) SetHeld(f id.Folder, h Held) {
	v, err := json.Marshal(h)
	if err != nil {
		panic("local: encode held deletions: " + err.Error()) // no field can fail
	}
	b.b.Set(folderKey(keyHeld, f), v)
}

// DropHeld forgets that.
func (b *Batch) DropHeld(f id.Folder) { b.b.Delete(folderKey(keyHeld, f)) }

// Folder returns this node's mapping of one folder.
func (d *DB) Folder(f id.Folder) (m Folder, ok bool, err error) {
	v, ok, err := d.kv.Get(folderKey(keyFolder, f))
	if err != nil || !ok {
		return m, false, err
	}
	if err := json.Unmarshal(v, &m); err != nil {
		return m, false, fmt.Errorf("decode the mapping of a folder: %w", err)
	}
	return m, true, nil
}

package local

import (
	"encoding/json"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Settings are what the user of this node has set for one folder here. The zero
// value is what a folder begins with.
type Settings struct {
	// Mode is "" for both ways, else "send" or "receive".
	Mode string `json:"mode,omitempty"`
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

// Package settle decides when a changed path is settled.
package settle

import (
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// Config has the times of the settle rules.
type Config struct{}

// Machine is the state of all dirty paths.
type Machine struct{}

// Hashed notes a hash.
func (m *Machine) Hashed(p id.Path, took time.Duration, at time.Time) {}

// Mark returns the number of the newest dirty path.
func (m *Machine) Mark() uint64 { return 0 }

package raftnode

import (
	"errors"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// adapted is the real state machine as this package sees it.
type adapted struct{ *meta.Machine }

// read calls fn with a view of the current state.
func (a adapted) read(fn func(v *meta.View) error) error {
	v := a.View()
	return errors.Join(fn(v), v.Close())
}

// Outcome implements machine.
func (a adapted) Outcome(env meta.Envelope) (out meta.Outcome, ok bool, err error) {
	err = a.read(func(v *meta.View) (err error) {
		out, ok, err = v.Outcome(env.Node, env.Lane, env.Sequence)
		return err
	})
	return out, ok, err
}

// Members implements machine.
func (a adapted) Members() (map[id.Node]meta.Role, error) {
	out := map[id.Node]meta.Role{}
	err := a.read(func(v *meta.View) error {
		nodes, err := v.Nodes()
		for _, n := range nodes {
			out[n.ID] = n.Role
		}
		return err
	})
	return out, err
}

// LogEntries implements machine.
func (a adapted) LogEntries(env meta.Envelope, body meta.Body, now time.Time) ([][]byte, error) {
	return meta.LogEntries(env, body, now)
}

package watcher

import (
	"context"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher/settle"
)

type loop struct {
	w       *Watcher
	m       *settle.Machine
	flushes []flush
}
type flush struct {
	mark uint64
	done chan<- error
	ctx  context.Context
}
type scanResult struct{ err error }
type notifier interface{}

func newFSNotify() (notifier, error)              { return nil, nil }
func newLoop(w *Watcher) *loop                    { return &loop{w: w} }
func (l *loop) run(ctx context.Context) error     { <-ctx.Done(); return nil }
func (l *loop) requeue(paths []id.Path)           {}
func (l *loop) scanAll(done func(error))          {}
func (l *loop) startScan(p id.Path, all bool, done func(scanResult)) {}

var _ = time.Now

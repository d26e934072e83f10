package folder

import "github.com/lockstep-sync/lockstep/watcher"

// Watching returns the state of the folder's watcher.
func (e *Engine) Watching() watcher.Status { return e.watch.Status() }

package vfs

import "github.com/lockstep-sync/lockstep/internal/id"

// OpenRootForTest opens the portable implementation on systems that prefer
// another.
var OpenRootForTest = openRoot

func idPath(s string) id.Path { return id.Path(s) }

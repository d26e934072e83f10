//go:build !linux

package watcher

// noEvents reports why the system makes no events for what others change on the
// filesystem of root, "" if it does.
func noEvents(string) string { return "" }

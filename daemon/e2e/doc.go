// Package e2e tests clusters of real processes from the outside. It has no code
// of its own; the harness is daemon/control/harness.
//
//	go test ./daemon/e2e                              the short set, no root
//	LOCKSTEP_LONG=1 go test -timeout 2h ./daemon/e2e  kill loops and measurements
//
// Variables: LOCKSTEP_BINARY (a program to test instead of building one),
// LOCKSTEP_KILLS (how many kills the loop makes; 5, or 50 in a long run),
// LOCKSTEP_LOG (the daemons' log level), LOCKSTEP_KEEP (a directory to which
// the directory of a failed test is moved).
package e2e

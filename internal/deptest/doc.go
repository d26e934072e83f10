// Package deptest holds the rules of the repository's structure as tests: which
// package may import which, which decisions must be pure, where the process may
// be ended, how long a file may be, and which pages stand beside the code. It
// has no code of its own.
package deptest

package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Code is the class of an error: it decides the exit code of a command.
type Code string

// The classes. Their exit codes are in the command line's table.
const (
	// CodeFailed is everything that no other class names.
	CodeFailed Code = "failed"
	// CodeUsage is a request that cannot be right whatever the node's state:
	// a malformed name, an option that does not exist.
	CodeUsage Code = "usage"
	// CodeNotRunning is returned by the Client when no daemon serves the home.
	CodeNotRunning Code = "not_running"
	// CodeTimeout is a wait that ended at its deadline.
	CodeTimeout Code = "timeout"
	// CodeNoQuorum is a commit that too few voters are online for.
	CodeNoQuorum Code = "no_quorum"
	// CodeProblems is a check that was carried out and found problems.
	CodeProblems Code = "problems"
)

// Error is an error with a class, carried over the wire as it is. Message says
// what failed, on what and why; Hint what to do next.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Paths lists what the error is about where that is more than one thing: the
	// blocked paths of a wait, the plan of a first join.
	Paths []BlockedPath `json:"paths,omitempty"`
	// cause is kept on the side where the error was made; it does not travel.
	cause error
}

// Error returns the message and the hint as one line.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Unwrap returns the cause, on the side where the error was made.
func (e *Error) Unwrap() error { return e.cause }

// Errorf makes an Error of a class; %w keeps the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns a copy of e that says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithPaths returns a copy of e that lists paths.
func (e *Error) WithPaths(paths []BlockedPath) *Error {
	c := *e
	c.Paths = paths
	return &c
}

// CodeOf returns the class of err: that of the first *Error in its chain, else
// CodeFailed. It is "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeFailed
}

// asError returns err as an *Error that can travel.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Error() == err.Error() {
			return e
		}
		c := *e // wrapped: keep the class, tell the whole story
		c.Message, c.Hint = err.Error(), ""
		return &c
	}
	return &Error{Code: CodeFailed, Message: err.Error(), cause: err}
}

func httpStatus(c Code) int {
	switch c {
	case CodeUsage:
		return http.StatusBadRequest
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeNoQuorum, CodeNotRunning:
		return http.StatusServiceUnavailable
	}
	return http.StatusUnprocessableEntity
}

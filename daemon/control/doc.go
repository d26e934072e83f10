// Package control is how programs on the same machine talk to a running node:
// HTTP/JSON over a Unix socket in the node's home. It holds the request and
// response types (their JSON is the contract of docs/cli.md), the Server that
// serves a Service, and the Client that the command line uses.
//
// Lists that may be long are streamed: one JSON object a line, closed by a line
// that says that the list is whole, so that a connection which broke in the
// middle is never taken for a short list.
package control

// Package transport is a node's one door to the network: a TCP port on which
// every connection is TLS 1.3 with mutual authentication, split by ALPN into
// Raft, peer requests and join requests.
//
// A node's ID is its Ed25519 public key; certificates carry that key and nothing
// else that counts. Names, dates and issuers are ignored: who is a member is
// known from the replicated membership alone, asked for every connection, for
// every read of a Raft connection, and by the peer protocol for every request.
//
// All types are safe for concurrent use.
package transport

// Package join is how a new node becomes a member: the token that a member hands
// out, the request that the new node makes with it, and the server that bounds
// what strangers may do. Whether a node is let in is decided behind the Admit
// interface, by a command in the replicated log.
package join

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

const (
	// MaxRequest bounds a join request in bytes: the only thing that is parsed of a
	// node that is not a member.
	MaxRequest = 4 << 10
	// MaxResponse bounds the answer, whose bulk is the list of nodes (about 400
	// bytes each).
	MaxResponse = 4 << 20
	// MaxNodes bounds that list.
	MaxNodes = 4096

	maxMessage = 512
)

// The reasons why a node is not let in. An Admit returns them, wrapped or not; each
// has a code on the wire, so the new node's Request returns an error that matches
// the same one.
var (
	// ErrUnknownToken: no invite with this secret was ever made, or it was revoked
	// or forgotten after its expiry.
	ErrUnknownToken = errors.New("the cluster does not know this token")
	// ErrUsedToken: another node has joined with it.
	ErrUsedToken = errors.New("this token was used already")
	// ErrExpiredToken: its time is over.
	ErrExpiredToken = errors.New("this token has expired")
	// ErrWrongCluster: the inviter is in another cluster than the token's.
	ErrWrongCluster = errors.New("the inviter is now in another cluster than this token is for")
	// ErrUnavailable: the cluster cannot commit now: no quorum or no leader. Nothing
	// was proposed, and the token is still good.
	ErrUnavailable = errors.New("the cluster has no quorum, so it cannot admit nodes now")
	// ErrUndecided: the admission was proposed and not committed in time. It may be
	// committed later, and uses the token up then; the same identity may ask again.
	ErrUndecided = errors.New("the cluster did not commit the admission in time")
	// ErrBusy: too many requests. The token is still good.
	ErrBusy = errors.New("too many join requests at once; try again")
	// ErrBadRequest: the request does not follow the protocol, or a name or
	// address in it is not valid.
	ErrBadRequest = errors.New("bad join request")
	// ErrRemoved: this identity was a member and was removed; it needs a new one.
	ErrRemoved = errors.New("this node was removed from the cluster; join with a new home")
	// ErrFailed: another error at the inviter, which its log tells.
	ErrFailed = errors.New("the inviter failed to admit this node; see its log")
)

// codes are the wire's words for the reasons. They are part of the protocol.
var codes = []struct {
	code string
	err  error
}{
	{"unknown_token", ErrUnknownToken},
	{"used_token", ErrUsedToken},
	{"expired_token", ErrExpiredToken},
	{"wrong_cluster", ErrWrongCluster},
	{"unavailable", ErrUnavailable},
	{"undecided", ErrUndecided},
	{"busy", ErrBusy},
	{"bad_request", ErrBadRequest},
	{"removed", ErrRemoved},
	{"failed", ErrFailed},
}

const codeOK = "ok"

func codeOf(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "failed"
}

func errorOf(code string) error {
	for _, c := range codes {
		if c.code == code {
			return c.err
		}
	}
	return fmt.Errorf("%w (code %.40q)", ErrFailed, code)
}

// AdmitRequest is what a node that wants to join says. Nothing in it is trusted
// but what the server checked: lengths, and the forms of name and address.
type AdmitRequest struct {
	// Secret proves the invite; the invite's name in the log is Secret.Hash().
	Secret Secret
	// Name wished for; empty lets the cluster choose.
	Name string
	// Advertise is where the others shall reach it, host:port.
	Advertise string
	// Observed is the IP address that the request came from: a proxy's, maybe.
	Observed netip.Addr
}

// Response is what a node needs to begin its life as a member.
type Response struct {
	Cluster id.Cluster
	// Name that the node has been given: another one than asked for if that was
	// taken.
	Name string
	// Nodes are all members' records, the new node's and the inviter's among them.
	Nodes []meta.NodeRecord
}

// wireRequest and wireResponse are JSON, each after its length in 4 bytes,
// big-endian. Unknown fields are ignored.
type wireRequest struct {
	Cluster   id.Cluster `json:"cluster"`
	Secret    id.Digest  `json:"secret"` // 64 hex digits; not a digest
	Name      string     `json:"name"`
	Advertise string     `json:"advertise"`
}

type wireResponse struct {
	Code    string     `json:"code"`
	Message string     `json:"message,omitempty"` // for people, with an error
	Cluster id.Cluster `json:"cluster"`
	Name    string     `json:"name,omitempty"`
	Nodes   []wireNode `json:"nodes,omitempty"`
}

func writeFrame(w io.Writer, v any, limit int) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(data) > limit {
		return fmt.Errorf("message of %d bytes, limit %d", len(data), limit)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

func readFrame(r io.Reader, v any, limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || int64(n) > int64(limit) {
		return fmt.Errorf("%w: message of %d bytes, limit %d", ErrBadRequest, n, limit)
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what comes, not with what is said
	if err != nil {
		return err
	}
	if len(data) != int(n) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return nil
}

// decode checks what came and turns it into what Admit sees.
func (w wireRequest) decode() (AdmitRequest, error) {
	if w.Name != "" {
		if err := id.CheckName(w.Name); err != nil {
			return AdmitRequest{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
	}
	if err := CheckAddress(w.Advertise); err != nil {
		return AdmitRequest{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return AdmitRequest{Secret: Secret(w.Secret), Name: w.Name, Advertise: w.Advertise}, nil
}

package join

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/transport"
)

// clientTimeout bounds one attempt at one address: the inviter may wait for its
// cluster to commit.
const clientTimeout = 30 * time.Second

// An inviter that is busy is asked again, busyTries times in all, with growing
// pauses.
const (
	busyTries = 5
	busyWait  = 300 * time.Millisecond
)

// ErrUnreachable is matched when no address of the token answered.
var ErrUnreachable = errors.New("cannot reach the node that made the token")

// Request asks the token's inviter to let identity join, under name (empty: the
// cluster chooses) and reachable at advertise (host:port). The token's addresses
// are tried in order, and nothing is sent before the node there has proven that
// it holds the inviter's key; one that does not gives transport.ErrWrongKey.
//
// A refusal matches one of this package's errors. After any other error it is not
// known whether the node was admitted: asking again with the same identity and
// token is right, and succeeds if it was.
func Request(ctx context.Context, identity *transport.Identity, token Token, name, advertise string) (Response, error) {
	if err := token.Check(); err != nil {
		return Response{}, err
	}
	w := wireRequest{Cluster: token.Cluster, Secret: [32]byte(token.Secret), Name: name, Advertise: advertise}
	if _, err := w.decode(); err != nil {
		return Response{}, err
	}
	var failed []error
	for _, addr := range token.Addresses {
		r, err := requestAt(ctx, identity, token, addr, w)
		for try := 1; try < busyTries && errors.Is(err, ErrBusy); try++ {
			select {
			case <-ctx.Done():
				return Response{}, ctx.Err()
			case <-time.After(time.Duration(try) * busyWait):
			}
			r, err = requestAt(ctx, identity, token, addr, w)
		}
		if err == nil {
			return r, nil
		}
		var no *refusal
		if errors.As(err, &no) || ctx.Err() != nil {
			return Response{}, err
		}
		failed = append(failed, err)
	}
	return Response{}, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(failed...))
}

// refusal is an answer of the inviter: other addresses need not be tried.
type refusal struct {
	err     error
	message string
}

func (r *refusal) Error() string {
	if r.message != "" {
		return r.err.Error() + ": " + r.message
	}
	return r.err.Error()
}

func (r *refusal) Unwrap() error { return r.err }

func requestAt(ctx context.Context, identity *transport.Identity, token Token, addr string, w wireRequest) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	c, err := transport.DialKey(ctx, identity, addr, token.Inviter, transport.ProtoJoin)
	if err != nil {
		return Response{}, fmt.Errorf("join at %s: %w", addr, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := writeFrame(c, w, MaxRequest); err != nil {
		return Response{}, fmt.Errorf("join at %s: %w", addr, cause(ctx, err))
	}
	var answer wireResponse
	if err := readFrame(c, &answer, MaxResponse); err != nil {
		return Response{}, fmt.Errorf("join at %s: %w", addr, cause(ctx, err))
	}
	if answer.Code != codeOK {
		return Response{}, &refusal{err: errorOf(answer.Code), message: printable(answer.Message)}
	}
	if answer.Cluster != token.Cluster {
		return Response{}, &refusal{err: ErrWrongCluster}
	}
	r := Response{Cluster: answer.Cluster, Name: answer.Name}
	if r.Nodes, err = decodeNodes(answer.Nodes); err != nil {
		return Response{}, fmt.Errorf("join at %s: %w", addr, err)
	}
	return r, nil
}

// cause prefers the context's error: the connection is closed when it ends.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// printable keeps another node's words from doing more to a terminal than being
// read.
func printable(s string) string {
	b := []byte(s)
	if len(b) > maxMessage {
		b = b[:maxMessage]
	}
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

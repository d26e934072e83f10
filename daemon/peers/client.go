package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// The paths of the protocol.
const (
	objectsPath   = "/v1/objects"
	proposePath   = "/v1/propose"
	heartbeatPath = "/v1/heartbeat"
	reachPath     = "/v1/reach"
)

// ErrStatus is matched when another node answered a request with an HTTP error:
// it is busy, or holds the request for malformed.
var ErrStatus = errors.New("the other node answered with an error")

// post sends one request. The body can be read again, so that net/http repeats
// the request when a kept connection turns out to be dead: all requests of this
// protocol may be repeated.
func (p *Peers) post(ctx context.Context, t *http.Transport, node id.Node, path string, body *bytes.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node.String()+path, body)
	if err != nil {
		return nil, err
	}
	// An empty list is not sent; it only says to net/http that repeating is right.
	req.Header["Idempotency-Key"] = []string{}
	req.Header["User-Agent"] = nil
	return t.RoundTrip(req)
}

// call sends one request and returns the answer, of at most limit bytes.
func (p *Peers) call(ctx context.Context, t *http.Transport, node id.Node, path string, body *bytes.Reader, limit int64) ([]byte, error) {
	resp, err := p.post(ctx, t, node, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("answer of node %s to %s: over %d bytes", node.Short(), path, limit)
	}
	return data, nil
}

func statusError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return fmt.Errorf("%w: %d %q", ErrStatus, resp.StatusCode, strings.TrimSpace(string(text)))
}

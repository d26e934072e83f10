package control

import (
	"context"
	"net/http"
	"time"
)

// EventsRequest asks for the node's events.
type EventsRequest struct {
	// Since is the number of the last event that is not wanted: those after it are
	// sent first. nil: only what happens from now on. Epoch is that event's; "" is the
	// running daemon's.
	Since *uint64 `json:"since,omitempty"`
	Epoch string  `json:"epoch,omitempty"`
	// NoFollow ends the stream after what there is now.
	NoFollow bool `json:"no_follow,omitempty"`
}

// Event is something that happened on this node. What does not apply is left out.
type Event struct {
	Seq   uint64    `json:"seq"`
	Epoch string    `json:"epoch"`
	Time  time.Time `json:"time"`
	// Kind is one of started, commit, on-disk, state, conflicts, held, blocked, unblocked,
	// folder-added, folder-removed, node-joined, node-removed, node-online, node-offline,
	// leader, quorum, gap.
	Kind     string `json:"kind"`
	Folder   string `json:"folder,omitempty"`
	Path     string `json:"path,omitempty"`
	PathB64  string `json:"path_b64,omitempty"`
	Node     string `json:"node,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	Count    int    `json:"count,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Events implements Service: emit gets the events as they come, until ctx ends.
func (c *Client) Events(ctx context.Context, r EventsRequest, emit func([]Event) error) error {
	err := list(ctx, c, "/v1/events", r, func(e Event) error { return emit([]Event{e}) }, &struct{}{}, 0)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// events streams events, each batch at once.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	req, ok := decode[EventsRequest](s, w, r)
	if !ok {
		return
	}
	out := newStreamWriter(w)
	flush := func() error {
		if err := out.bw.Flush(); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	err := flush() // the head: the client knows that it listens
	if err == nil {
		err = s.svc.Events(r.Context(), req, func(list []Event) error {
			for _, e := range list {
				if err := out.item(e); err != nil {
					return err
				}
			}
			return flush()
		})
	}
	out.finish(struct{}{}, err)
}

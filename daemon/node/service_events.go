package node

import (
	"context"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/events"
)

// Events implements control.Service.
func (s service) Events(ctx context.Context, r control.EventsRequest, emit func([]control.Event) error) error {
	c := s.n.events.Newest()
	if r.Since != nil {
		c = events.Cursor{Epoch: r.Epoch, Seq: *r.Since}
	}
	if r.NoFollow {
		done, cancel := context.WithCancel(ctx)
		cancel()
		ctx = done
	}
	for {
		list, next, err := s.n.events.Next(ctx, c)
		if err != nil {
			return nil // ctx has ended: that is how a stream ends
		}
		out := make([]control.Event, 0, len(list))
		for _, e := range list {
			v := control.Event{
				Seq: e.Seq, Epoch: e.Epoch, Time: e.Time, Kind: e.Kind, Folder: e.Folder, Node: e.Node,
				Revision: e.Revision, Count: e.Count, Detail: e.Detail,
			}
			if e.Path != "" {
				v.Path, v.PathB64 = control.EncodePath(e.Path)
			}
			out = append(out, v)
		}
		if err := emit(out); err != nil {
			return err
		}
		c = next
		if r.NoFollow {
			return nil
		}
	}
}

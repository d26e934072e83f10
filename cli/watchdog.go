package cli

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// watchdog tells systemd that the node lives, where the unit has a WatchdogSec: as
// often as it wants, and only while the node answers a question about its state. So
// a node that hangs is restarted, and not only one that has ended.
func (a *app) watchdog(ctx context.Context, home string, log *slog.Logger) {
	within := watchdogTime(a.Getenv)
	if within == 0 {
		return
	}
	svc, socket := a.Service(home), a.Getenv("NOTIFY_SOCKET")
	for {
		// Three times within the limit, so that one slow answer is not an end.
		ask, cancel := context.WithTimeout(ctx, within/3)
		_, err := svc.Status(ask, control.StatusRequest{})
		cancel()
		if err == nil {
			err = notifySystemd(socket, "WATCHDOG=1")
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("systemd was not told that the node lives", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(within / 3):
		}
	}
}

// watchdogTime is what systemd wants: see sd_watchdog_enabled(3). 0 is nothing.
func watchdogTime(getenv func(string) string) time.Duration {
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || getenv("NOTIFY_SOCKET") == "" {
		return 0
	}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // it is meant for another process
	}
	return time.Duration(usec) * time.Microsecond
}

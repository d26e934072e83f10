package cli

import "net"

// notifySystemd tells systemd a state ("READY=1") over the datagram socket that it
// named in $NOTIFY_SOCKET (a leading @ is the abstract namespace, which package net
// understands); without one it does nothing. See sd_notify(3).
func notifySystemd(socket, state string) error {
	if socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return errorf("notify systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return errorf("notify systemd: %w", err)
	}
	return nil
}

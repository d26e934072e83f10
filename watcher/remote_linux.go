package watcher

import "golang.org/x/sys/unix"

// noEvents reports why the system makes no events for what others change on the
// filesystem of root, "" if it does.
func noEvents(root string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return ""
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC:
		return "the filesystem may change without events (network or FUSE)"
	}
	return ""
}

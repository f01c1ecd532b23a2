import { describe, expect, it } from 'vitest';
import { fileSystemOf, inspectDataDir, isShared } from './data-dir-kind.ts';

const MOUNTINFO = `
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 / /data rw shared:5 - nfs4 server:/export rw,vers=4.2
31 30 254:16 /sub /data/local rw - xfs /dev/vdb rw
32 22 0:50 / /mnt/with\\040space rw - fuse.sshfs host:/x rw
33 22 0:51 / /over rw - ext4 /dev/vdc rw
34 22 0:52 / /over rw - cifs //server/share rw
`;

describe('mounts', () => {
  it.each([
    ['/srv/data', 'ext4'],
    ['/data', 'nfs4'],
    ['/data/tenants', 'nfs4'],
    ['/data/local/tenants', 'xfs'],
    ['/database', 'ext4'],
    ['/mnt/with space/tenants', 'fuse.sshfs'],
    ['/over', 'cifs'],
  ])('%s is on %s', (path, expected) => {
    expect(fileSystemOf(path, MOUNTINFO)).toBe(expected);
  });

  it.each([
    'nfs',
    'nfs4',
    'cifs',
    'smb3',
    'fuse.sshfs',
    'fuse.s3fs',
    'fuse',
    '9p',
    'virtiofs',
    'ceph',
    'lustre',
  ])('%s may be used from another kernel', type => {
    expect(isShared(type)).toBe(true);
  });

  it.each(['ext4', 'xfs', 'btrfs', 'zfs', 'tmpfs', 'overlay', 'fuseblk', 'fuse.fuse-overlayfs', 'unknown'])(
    '%s is local',
    type => {
      expect(isShared(type)).toBe(false);
    },
  );

  it('knows a folder that is not there', () => {
    expect(inspectDataDir('/no/such/folder')).toEqual({ kind: 'absent' });
    expect(inspectDataDir('/etc/hostname')).toEqual({ kind: 'absent' });
  });

  it('believes what a setting says of a folder that is there', () => {
    expect(inspectDataDir('/etc', 'network')).toMatchObject({ kind: 'network' });
    expect(inspectDataDir('/etc', 'local')).toMatchObject({ kind: 'local' });
    expect(inspectDataDir('/no/such/folder', 'network')).toEqual({ kind: 'absent' });
  });
});

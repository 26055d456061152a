package vm

import (
	"strings"
	"testing"
)

func TestCheckSetting(t *testing.T) {
	for key, way := range map[string]string{
		"memsize": "vmmemory", "MemSize": "vmmemory", "guestOS": "vmguestostype", "scsi0.virtualDev": "vmstoragemodel", "scsi0:1.fileName": "vmstorage",
		"ethernet0.virtualDev": "vmnicnicmodel", "ethernet1.networkName": "vmnics", "uuid.bios": "vpd.uuid", "sched.cpu.min": "--sched",
	} {
		if err := CheckSetting(key); err == nil || !strings.Contains(err.Error(), way) {
			t.Errorf("%s: %v, want %q in it", key, err, way)
		}
	}
	// What the guides of others set by hand.
	for _, key := range []string{"pciBridge0.present", "pciBridge4.virtualDev", "pciBridge4.functions", "disk.EnableUUID", "ethernet0.checkMACAddress", "ethernet0.wakeOnPcktRcv",
		"RemoteDisplay.vnc.port", "bios.bootDeviceClasses", "vhv.enable", "isolation.tools.copy.disable", "scsi0:0.ctkEnabled", "svga.autodetect", "answer.msg.uuid.altered"} {
		if err := CheckSetting(key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := twice([]Setting{{"a", "1"}, {"b", "1"}, {"A", "2"}}); err == nil {
		t.Error("one key with two values is let pass")
	}
	if err := twice([]Setting{{"a", "1"}, {"A", "1"}}); err != nil {
		t.Error(err)
	}
}

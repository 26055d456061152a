package bmctest

import (
	"net/http"
	"strings"
)

// reads are the resources that can be read.
func (x *Redfish) reads(m *http.ServeMux) {
	get := func(path string, make func() obj) {
		m.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path && r.URL.Path != path+"/" {
				refuse(w, http.StatusNotFound, "ResourceMissingAtURI", r.URL.Path)
				return
			}
			o := make()
			o["@odata.id"] = strings.TrimSuffix(path, "/")
			x.mu.Lock()
			w.Header().Set("ETag", x.tag())
			x.mu.Unlock()
			answer(w, http.StatusOK, o)
		})
	}
	list := func(path string, members ...string) {
		get(path, func() obj {
			l := []obj{}
			for _, p := range members {
				l = append(l, ref(p))
			}
			return obj{"Name": "Collection", "Members": l, "Members@odata.count": len(l)}
		})
	}
	get(v1+"/", func() obj {
		return obj{
			"Id": "RootService", "Name": "Root", "RedfishVersion": "1.18.0", "Vendor": x.config.Vendor,
			"Systems": ref(v1 + "/Systems"), "Managers": ref(v1 + "/Managers"), "Chassis": ref(v1 + "/Chassis"),
			"AccountService": ref(v1 + "/AccountService"), "SessionService": ref(v1 + "/SessionService"), "Links": obj{"Sessions": ref(ses)},
		}
	})
	list(v1+"/Systems", sys)
	list(v1+"/Managers", mgr)
	list(v1+"/Chassis", encl)
	get(sys, x.system)
	get(sys+"/ResetActionInfo", func() obj {
		return obj{"Id": "ResetActionInfo", "Name": "Reset", "Parameters": []obj{{"Name": "ResetType", "Required": true, "AllowableValues": x.config.ResetTypes}}}
	})
	x.parts(get, list)
	get(mgr, func() obj {
		return obj{
			"Id": "1", "Name": "BMC", "Model": "Played BMC", "FirmwareVersion": "2.71",
			"EthernetInterfaces": ref(mgr + "/EthernetInterfaces"), "VirtualMedia": ref(mgr + "/VirtualMedia"),
		}
	})
	list(mgr+"/EthernetInterfaces", nicURL)
	get(nicURL, func() obj {
		o := obj{"Id": "1", "Name": "eth0"}
		for k, v := range x.Net() {
			o[k] = v
		}
		return o
	})
	list(mgr+"/VirtualMedia", mgr+"/VirtualMedia/Floppy", cd)
	get(mgr+"/VirtualMedia/Floppy", func() obj {
		return obj{"Id": "Floppy", "Name": "Floppy", "MediaTypes": []string{"Floppy"}, "Inserted": false}
	})
	get(cd, x.cdrom)
	list(sys+"/LogServices", logs)
	get(logs, func() obj {
		return obj{
			"Id": "SEL", "Name": "System event log", "Entries": ref(logs + "/Entries"),
			"Actions": obj{"#LogService.ClearLog": obj{"target": logs + "/Actions/LogService.ClearLog"}},
		}
	})
	get(logs+"/Entries", func() obj {
		x.mu.Lock()
		defer x.mu.Unlock()
		return obj{"Name": "Entries", "Members": append([]obj{}, x.log...)}
	})
	get(v1+"/AccountService", func() obj {
		return obj{"Id": "AccountService", "Name": "Accounts", "Accounts": ref(v1 + "/AccountService/Accounts")}
	})
	list(v1+"/AccountService/Accounts", acct)
	get(acct, func() obj { return obj{"Id": "1", "Name": "Account", "UserName": x.config.User, "Password": nil} })
}

func (x *Redfish) system() obj {
	reset := obj{"target": sys + "/Actions/ComputerSystem.Reset"}
	if x.config.ActionInfo {
		reset["@Redfish.ActionInfo"] = sys + "/ResetActionInfo"
	} else {
		reset["ResetType@Redfish.AllowableValues"] = x.config.ResetTypes
	}
	return obj{
		"Id": "1", "Name": "System", "Manufacturer": "Margay Works", "Model": "Played Server", "SKU": "7914AC1", "SerialNumber": "SN0002",
		"AssetTag": "A-17", "UUID": "11111111-2222-3333-4444-555555555555", "BiosVersion": "U30 v2.1", "PowerState": x.powerState(),
		"Boot": x.boot(), "LocationIndicatorActive": x.Host.Beacon(), "Actions": obj{"#ComputerSystem.Reset": reset},
		"EthernetInterfaces": ref(sys + "/EthernetInterfaces"), "Processors": ref(sys + "/Processors"), "Memory": ref(sys + "/Memory"),
		"Storage": ref(sys + "/Storage"), "LogServices": ref(sys + "/LogServices"),
		"PCIeDevices": []obj{ref(encl + "/PCIeDevices/1")},
		"Links":       obj{"Chassis": []obj{ref(encl)}, "ManagedBy": []obj{ref(mgr)}},
	}
}

func (x *Redfish) cdrom() obj {
	o := obj{"Id": "Cd", "Name": "Cd", "MediaTypes": []string{"CD", "DVD"}, "Inserted": x.Host.Media() != "", "Image": nil}
	if x.Host.Media() != "" {
		o["Image"] = x.Host.Media()
	}
	if !x.config.NoInsert {
		o["Actions"] = obj{
			"#VirtualMedia.InsertMedia": obj{"target": cd + "/Actions/VirtualMedia.InsertMedia"},
			"#VirtualMedia.EjectMedia":  obj{"target": cd + "/Actions/VirtualMedia.EjectMedia"},
		}
	}
	return o
}

// parts are what the machine is made of. One DIMM is not as the schema says:
// such services exist.
func (x *Redfish) parts(get func(string, func() obj), list func(string, ...string)) {
	fixed := func(path string, o obj) { get(path, func() obj { return clone(o) }) }
	list(sys+"/EthernetInterfaces", sys+"/EthernetInterfaces/NIC1", sys+"/EthernetInterfaces/NIC2", sys+"/EthernetInterfaces/gone")
	fixed(sys+"/EthernetInterfaces/NIC1", obj{"Id": "NIC1", "MACAddress": "52:54:00:00:00:01"})
	fixed(sys+"/EthernetInterfaces/NIC2", obj{"Id": "NIC2", "PermanentMACAddress": "52:54:00:00:00:02", "MACAddress": ""})
	list(sys+"/Processors", sys+"/Processors/1")
	fixed(sys+"/Processors/1", obj{"Id": "CPU1", "Socket": "CPU 1", "Model": "Xeon", "TotalCores": 16})
	list(sys+"/Memory", sys+"/Memory/1", sys+"/Memory/2", sys+"/Memory/3")
	fixed(sys+"/Memory/1", obj{"Id": "1", "DeviceLocator": "DIMM A1", "CapacityMiB": 32768, "MemoryDeviceType": "DDR4", "Manufacturer": "Mem", "PartNumber": "M32"})
	fixed(sys+"/Memory/2", obj{"Id": "2", "DeviceLocator": "DIMM A2", "CapacityMiB": nil, "Status": obj{"State": "Absent"}})
	fixed(sys+"/Memory/3", obj{"Id": "3", "CapacityMiB": "thirty-two"})
	list(sys+"/Storage", sys+"/Storage/1")
	fixed(sys+"/Storage/1", obj{"Id": "1", "Drives": []obj{ref(sys + "/Storage/1/Drives/1")}})
	fixed(sys+"/Storage/1/Drives/1", obj{"Id": "1", "Name": "Disk 1", "Model": "SSD9", "SerialNumber": "D1", "MediaType": "SSD", "CapacityBytes": 480000000000})
	fixed(encl, obj{"Id": "1", "Name": "Chassis", "SerialNumber": "CHS2", "PartNumber": "CH-2", "Thermal": ref(encl + "/Thermal"), "Power": ref(encl + "/Power")})
	fixed(encl+"/PCIeDevices/1", obj{"Id": "1", "Name": "Ethernet Adapter", "Manufacturer": "Nic", "Model": "X710"})
	fixed(encl+"/Thermal", obj{
		"Temperatures": []obj{
			{"Name": "CPU 1 Temp", "ReadingCelsius": 41, "UpperThresholdCritical": 95},
			{"Name": "Inlet Temp", "ReadingCelsius": 50, "UpperThresholdNonCritical": 42, "UpperThresholdCritical": 60},
			{"Name": "DIMM Temp", "ReadingCelsius": nil, "Status": obj{"State": "Absent"}},
		},
		"Fans": []obj{{"Name": "Fan 1", "Reading": 4200, "ReadingUnits": "RPM"}, {"Name": "Fan 2", "Reading": 30, "ReadingUnits": "Percent", "Status": obj{"Health": "Warning"}}},
	})
	fixed(encl+"/Power", obj{
		"Voltages":     []obj{{"Name": "Planar 12V", "ReadingVolts": 12.1}},
		"PowerControl": []obj{{"Name": "System Power", "PowerConsumedWatts": 77}},
	})
}

func clone(o obj) obj {
	out := obj{}
	for k, v := range o {
		out[k] = v
	}
	return out
}

package provisiontest

import "strings"

// modules are the kernel and modules of a medium of 5.0 or later, in its
// boot.cfg's order: kernel parts, drivers, the rest, the installer's own.
func (e ESXi) modules() (kernel string, modules []string) {
	add := func(words string) { modules = append(modules, strings.Fields(words)...) }
	kernel = "b.b00"
	switch {
	case !e.atLeast("6.7.0"):
		kernel = "tboot.b00"
		add("b.b00 jumpstrt.gz useropts.gz k.b00 chardevs.b00 a.b00 user.b00 uc_intel.b00 uc_amd.b00 sb.v00 s.v00")
		add(drivers5)
	case !e.atLeast("7.0.0"):
		add("jumpstrt.gz useropts.gz features.gz k.b00 chardevs.b00 user.b00 procfs.b00 uc_intel.b00 uc_amd.b00 vmx.v00 vim.v00 sb.v00 s.v00")
		add(drivers5)
	default:
		add("jumpstrt.gz useropts.gz features.gz k.b00 uc_intel.b00 uc_amd.b00 uc_hygon.b00 procfs.b00 vmx.v00 vim.v00 tpm.v00 sb.v00 s.v00")
		add(drivers7)
	}
	if e.Vendor != "" {
		add("ilo.v00 amsd.v00 " + strings.ToLower(e.Vendor)[:min(3, len(e.Vendor))] + "_cust.v00")
	}
	switch {
	case !e.atLeast("7.0.0"):
		add("misc_cni.v00 misc_dri.v00 btldr.t00 esx_dvfi.v00 esx_ui.v00 esxupdt.v00 weaselin.t00 lsu_hp_h.v00 rste.v00 vsan.v00 vsanheal.v00 vsanmgmt.v00 tools.t00 xorg.v00 imgdb.tgz imgpayld.tgz")
	case !e.atLeast("8.0.0"):
		add("crx.v00 elx_esx_.v00 btldr.v00 esx_dvfi.v00 esx_ui.v00 esxupdt.v00 tpmesxup.v00 weaselin.v00 loadesx.v00 native_m.v00 qlnative.v00 vdfs.v00 vmware_e.v00 vsan.v00 vsanheal.v00 vsanmgmt.v00 tools.t00 xorg.v00 gc.v00 imgdb.tgz imgpayld.tgz")
	default:
		add("bmcal.v00 clusters.v00 crx.v00 drivervm.v00 elx_esx_.v00 btldr.v00 dvfilter.v00 esx_ui.v00 esxupdt.v00 tpmesxup.v00 weaselin.v00 esxio_co.v00 infravis.v00 loadesx.v00 native_m.v00 qlnative.v00 trx.v00 vdfs.v00 vds_vsip.v00 vmware_e.v00 hbrsrv.v00 vsan.v00 vsanheal.v00 vsanmgmt.v00 tools.t00 xorg.v00 gc.v00 imgdb.tgz basemisc.tgz resvibs.tgz esxiodpt.tgz imgpayld.tgz")
	}
	return kernel, modules
}

const drivers5 = "ata_liba.v00 ata_pata.v00 ata_pata.v01 block_cc.v00 ehci_ehc.v00 elxnet.v00 ima_qla4.v00 ipmi_ipm.v00 ipmi_ipm.v01 lpfc.v00 lsi_mr3.v00 lsi_msgp.v00 mtip32xx.v00 net_bnx2.v00 net_bnx2.v01 net_cnic.v00 net_e100.v00 net_e100.v01 net_enic.v00 net_forc.v00 net_igb.v00 net_ixgb.v00 net_nx_n.v00 net_tg3.v00 net_vmxn.v00 ohci_usb.v00 qlnativ.v00 sata_ahc.v00 sata_ata.v00 scsi_aac.v00 scsi_adp.v00 scsi_aic.v00 scsi_ips.v00 scsi_meg.v00 scsi_meg.v01 scsi_mpt.v00 scsi_mpt.v01 scsi_qla.v00 uhci_usb.v00"

const drivers7 = "atlantic.v00 bnxtnet.v00 bnxtroce.v00 brcmfcoe.v00 brcmnvme.v00 elxiscsi.v00 elxnet.v00 i40en.v00 iavmd.v00 icen.v00 igbn.v00 irdman.v00 iser.v00 ixgben.v00 lpfc.v00 lpnic.v00 lsi_mr3.v00 lsi_msgp.v00 lsi_msgp.v01 lsi_msgp.v02 mtip32xx.v00 ne1000.v00 nenic.v00 nfnic.v00 nhpsa.v00 nmlx5_co.v00 nmlx5_rd.v00 ntg3.v00 nvme_pci.v00 nvmerdma.v00 nvmetcp.v00 nvmxnet3.v00 nvmxnet3.v01 pvscsi.v00 qcnic.v00 qedentv.v00 qedrntv.v00 qfle3.v00 qfle3f.v00 qfle3i.v00 qflge.v00 rste.v00 sfvmk.v00 smartpqi.v00 vmkata.v00 vmkusb.v00 vmw_ahci.v00"

<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-FileCopyrightText: the libvirt-vepa authors -->
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!--
  From what libvirt stores back to what people write: the inverse of stored.xsl.

  Every <interface type='ethernet'> whose alias has a request in its own domain's metadata becomes an
  <interface type='physical'>: name, type, target, vlan and vf first, then the rest in its order. A device name
  and an alias that were only derived from a MAC are left out, and all requests go. Everything else is copied,
  and so is what other programs keep in the metadata, whatever it is.

  XSLT 1.0 without extensions and without parameters:

      virsh dumpxml GUEST | xsltproc proposed.xsl -
-->
<xsl:stylesheet version="1.0"
    xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:physical="urn:libvirt-vepa:physical:1"
    exclude-result-prefixes="physical">

  <xsl:output method="xml" encoding="UTF-8"/>

  <xsl:key name="request" match="metadata/physical:interfaces/physical:interface"
      use="concat(generate-id(../../..), ' ', @alias)"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <!-- == The metadata: requests go, with the blanks before them, and so does what held nothing else. == -->

  <xsl:template match="domain/metadata/node() | inactiveDomain/metadata/node()" priority="1">
    <xsl:copy-of select="."/>
  </xsl:template>
  <xsl:template match="domain/metadata/physical:interfaces | inactiveDomain/metadata/physical:interfaces" priority="2"/>
  <xsl:template match="metadata/text()[normalize-space() = '' and following-sibling::node()[1][self::physical:interfaces]]"
      priority="2"/>
  <xsl:template match="domain/metadata[physical:interfaces] | inactiveDomain/metadata[physical:interfaces]">
    <xsl:if test="*[not(self::physical:interfaces)] | comment() | processing-instruction()">
      <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
    </xsl:if>
  </xsl:template>
  <xsl:template match="domain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]] |
      inactiveDomain/text()[normalize-space() = '' and following-sibling::node()[1][self::metadata[physical:interfaces]]]">
    <xsl:for-each select="following-sibling::*[1]">
      <xsl:if test="*[not(self::physical:interfaces)] | comment() | processing-instruction()">
        <xsl:value-of select="preceding-sibling::node()[1]"/>
      </xsl:if>
    </xsl:for-each>
  </xsl:template>

  <!-- == The interfaces == -->

  <xsl:template match="domain/devices/interface[@type = 'ethernet' and alias/@name] |
      inactiveDomain/devices/interface[@type = 'ethernet' and alias/@name]">
    <xsl:variable name="request" select="key('request', concat(generate-id(../..), ' ', alias/@name))[1]"/>
    <xsl:choose>
      <xsl:when test="$request">
        <xsl:call-template name="physical"><xsl:with-param name="request" select="$request"/></xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="physical">
    <xsl:param name="request"/>
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <!-- vp and twelve digits are nobody's choice. -->
    <xsl:variable name="device" select="target/@dev[not(starts-with(., 'vp') and string-length(.) = 14 and
        translate(substring(., 3), '0123456789abcdef', '') = '')]"/>
    <interface type="physical">
      <xsl:apply-templates select="@*[name() != 'type']"/>
      <xsl:value-of select="$indent"/>
      <name><xsl:value-of select="$request/@name"/></name>
      <xsl:value-of select="$indent"/>
      <type><xsl:value-of select="$request/@type"/></type>
      <xsl:if test="$device or $request/@mode">
        <xsl:value-of select="$indent"/>
        <target>
          <xsl:copy-of select="$device"/>
          <xsl:copy-of select="$request/@mode"/>
        </target>
      </xsl:if>
      <xsl:for-each select="$request/physical:vlan">
        <xsl:value-of select="$indent"/>
        <vlan>
          <xsl:for-each select="physical:tag">
            <xsl:if test="$indent"><xsl:value-of select="concat($indent, '  ')"/></xsl:if>
            <tag><xsl:copy-of select="@*"/></tag>
          </xsl:for-each>
          <xsl:value-of select="$indent"/>
        </vlan>
      </xsl:for-each>
      <xsl:for-each select="$request/physical:vf">
        <xsl:value-of select="$indent"/>
        <vf><xsl:copy-of select="@*"/></vf>
      </xsl:for-each>
      <xsl:apply-templates select="node()" mode="content"/>
    </interface>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:copy-of select="."/></xsl:template>
  <xsl:template match="target" mode="content"/>
  <xsl:template match="text()[normalize-space() = '' and following-sibling::node()[1][self::target]]" mode="content"/>
  <!-- ua-physical- and twelve digits are nobody's choice either. -->
  <xsl:template match="alias[starts-with(@name, 'ua-physical-') and string-length(@name) = 24 and
      translate(substring(@name, 13), '0123456789abcdef', '') = '']" mode="content"/>
  <xsl:template match="text()[normalize-space() = '' and following-sibling::node()[1][self::alias[
      starts-with(@name, 'ua-physical-') and string-length(@name) = 24 and
      translate(substring(@name, 13), '0123456789abcdef', '') = '']]]" mode="content"/>
</xsl:stylesheet>
